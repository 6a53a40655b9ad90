"""Every client alone: what it gains from its own faces without any federation."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fedfr.federation.method import Method, RoundContext

__all__ = ["Local"]


class Local(Method):
    """Trains on from its own backbone, for as many epochs as a federated client, and sends no weights."""

    generic_model = None
    personal_model = "local"

    def starting_weights(self, context: RoundContext) -> Mapping[str, torch.Tensor]:
        """The client's own backbone; the pre-trained one at first."""
        return context.weights if context.state is None else context.state.backbone

    def shares(self, entry: str) -> bool:
        """Nothing."""
        return False
