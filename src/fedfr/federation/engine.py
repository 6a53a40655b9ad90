"""Interface of the engines, which carry messages between the server and the clients."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch

from fedfr.core.errors import STOPPED, FedfrError
from fedfr.federation.messages import Broadcast, Failure, Update

__all__ = ["Engine", "RoundLostError", "failure_of"]

# The client's own log; it stays on the client's machine.
_log = logging.getLogger("fedfr.client")


def failure_of(client: str, error: BaseException) -> Failure:
    """Log ``error`` in the client's own log and return the failure to send in place of an update.

    Only the shareable text of a :class:`FedfrError` is sent; other errors may quote private data, so their text is
    not sent. ``client`` is empty if the site could not be opened.
    """
    if isinstance(error, FedfrError):
        shareable = {} if error.shareable == STOPPED else {"shareable": _of(client, error.shareable)}
        _log.error("%s", _of(client, str(error)), extra=shareable)
        return Failure(client, error.shareable)
    stopped = f"{client or 'the site'} stopped"
    _log.error("%s: %s: %s", stopped, type(error).__name__, error, exc_info=error, extra={"shareable": stopped})
    return Failure(client, STOPPED)


def _of(client: str, text: str) -> str:
    return f"{client}: {text}" if client else text


class RoundLostError(FedfrError):
    """A round has no result and cannot be repeated, because its clients take part in each round once."""


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
        Raises :class:`RoundLostError` after the last failure if the round has to be skipped.
        """
        ...
