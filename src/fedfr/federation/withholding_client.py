"""A client that keeps its update in its own folder, for a secure sum."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fedfr.core.files import make_folder, read_file
from fedfr.core.secret_files import write_private
from fedfr.federation.client import Client
from fedfr.federation.messages import Broadcast, Update, decode_update, encode
from fedfr.federation.private_state import PrivateState

__all__ = ["SUM_FOLDER", "WithholdingClient", "remove_withheld", "withheld_update"]

SUM_FOLDER = "secure-sum"
"""Folder of what a client keeps for secure sums, below the client's own."""

_UPDATE = "update.safetensors"
_MOST_BYTES = 1 << 34


class WithholdingClient(Client):
    """Client that stores its update and returns it without tensors and with a count of 1: it is ready for the sum."""

    def train(self, broadcast: Broadcast) -> tuple[Update, PrivateState]:
        """Train as :meth:`Client.train` does, and store the update; one that shares nothing is returned as it is."""
        update, state = super().train(broadcast)
        if not update.weights and update.prototypes is None:
            return update, state
        folder = self.store.folder / SUM_FOLDER
        make_folder(folder)
        write_private(folder / _UPDATE, encode(update))
        return replace(update, weights={}, prototypes=None, count=1), state


def withheld_update(client_folder: Path) -> Update:
    """Return the update that a client stored last."""
    return decode_update(read_file(client_folder / SUM_FOLDER / _UPDATE, _MOST_BYTES))


def remove_withheld(client_folder: Path) -> None:
    """Remove the stored update: its public prototypes say more about a client's people than its private state does."""
    (client_folder / SUM_FOLDER / _UPDATE).unlink(missing_ok=True)
