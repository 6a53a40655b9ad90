"""Every client alone: what it gains from its own faces without any federation."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fedfr.federation.method import Method

__all__ = ["Local"]


class Local(Method):
    """Trains on from its own backbone, for as many epochs as a federated client, and sends no weights."""

    generic_model = None
    personal_model = "local"

    def shares(self, entries: Mapping[str, torch.Tensor]) -> frozenset[str]:
        """Nothing: training goes on from the client's own backbone."""
        return frozenset()
