"""What carries messages between the server's loop and the clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch

from fedfr.federation.messages import Broadcast, Failure, Update

__all__ = ["Engine"]


class Engine(Protocol):
    """Brings a broadcast to clients and their updates back, as they arrive and in any order."""

    def exchange(
        self, broadcast: Broadcast, clients: Sequence[str], identities: Mapping[str, torch.Tensor]
    ) -> Iterator[Update | Failure]:
        """Yield exactly one update or failure for every client asked.

        A client named in ``identities`` receives what stands there as its broadcast's ``identities``, nobody else does.
        """
        ...
