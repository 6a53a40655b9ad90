"""What carries messages between the server's loop and the clients."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch

from fedfr.core.errors import FedfrError
from fedfr.federation.messages import Broadcast, Failure, Update

__all__ = ["Engine", "failure_of"]

# The client's side: what it says here stays on its machine.
_log = logging.getLogger("fedfr.client")
_STOPPED = "it stopped; its own log says why"


def failure_of(client: str, error: BaseException) -> Failure:
    """What is sent in place of an update after ``error``; the client's own log has the whole of it.

    An error that is not ours may quote anything, so of its text nothing is told; the log has its traceback.
    """
    if isinstance(error, FedfrError):
        _log.error("%s: %s", client, error)
        return Failure(client, error.shareable)
    _log.error("%s stopped: %s: %s", client, type(error).__name__, error, exc_info=error)
    return Failure(client, _STOPPED)


class Engine(Protocol):
    """Brings a broadcast to clients and their updates back, as they arrive and in any order."""

    def exchange(
        self,
        broadcast: Broadcast,
        clients: Sequence[str],
        identities: Mapping[str, torch.Tensor],
        accepted: Mapping[str, int],
    ) -> Iterator[Update | Failure]:
        """Yield exactly one update or failure for every client asked.

        A client named in ``identities`` or ``accepted`` receives what stands there in its broadcast, nobody else does.
        """
        ...
