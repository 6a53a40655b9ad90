"""Local training without federation, as a baseline."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fedfr.federation.method import Method

__all__ = ["Local"]


class Local(Method):
    """Local training for as many epochs as a federated client, without sending weights."""

    generic_model = None
    personal_model = "local"
    lone_model = "local"

    def shares(self, entries: Mapping[str, torch.Tensor]) -> frozenset[str]:
        """Return no entries: each round continues from the client's own backbone."""
        return frozenset()
