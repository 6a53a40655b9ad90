"""Control of federation: FedFR at every client alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fedfr.federation.method import RoundContext
from fedfr.methods.fedfr import FedFR

__all__ = ["LocalFedFR"]


class LocalFedFR(FedFR):
    """FedFR without federation: hard negatives, contrastive term and DFC, and nothing is shared.

    Each client's results are bit-identical to those of FedFR in a federation of this client alone (with the server's
    optimizer ``average`` and full updates): its backbone and public prototypes after a round are the generic model of
    its next one.
    """

    generic_model = None
    own_model = True
    lone_model = "backbone"

    def shares(self, entries: Mapping[str, torch.Tensor]) -> frozenset[str]:
        """Return no entries."""
        return frozenset()

    def other_clients(self, context: RoundContext) -> int:
        """Return 0."""
        return 0
