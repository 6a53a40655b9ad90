"""Interface of the engines, which carry messages between the server and the clients."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch

from fedfr.core.errors import FedfrError
from fedfr.federation.messages import Broadcast, Failure, Update

__all__ = ["Engine", "failure_of"]

# The client's own log; it stays on the client's machine.
_log = logging.getLogger("fedfr.client")
_STOPPED = "it stopped; its own log says why"


def failure_of(client: str, error: BaseException) -> Failure:
    """Log ``error`` in the client's own log and return the failure to send in place of an update.

    Only the shareable text of a :class:`FedfrError` is sent; other errors may quote private data, so their text is
    not sent.
    """
    if isinstance(error, FedfrError):
        _log.error("%s: %s", client, error)
        return Failure(client, error.shareable)
    _log.error("%s stopped: %s: %s", client, type(error).__name__, error, exc_info=error)
    return Failure(client, _STOPPED)


class Engine(Protocol):
    """Delivers a broadcast to clients and yields their replies as they arrive, in any order."""

    def exchange(
        self,
        broadcast: Broadcast,
        clients: Sequence[str],
        identities: Mapping[str, torch.Tensor],
        accepted: Mapping[str, int],
    ) -> Iterator[Update | Failure]:
        """Yield exactly one update or failure for every client in ``clients``.

        ``identities`` and ``accepted`` hold values by client; each is sent to that client alone, in its broadcast.
        """
        ...
