"""Control of hard negatives: FedAvg with public faces drawn at random."""

from __future__ import annotations

import torch

from fedfr.core.rng import torch_generator
from fedfr.federation.method import RoundContext
from fedfr.methods.ablations import HardNegatives

__all__ = ["FedAvgPublic"]


class FedAvgPublic(HardNegatives):
    """FedAvg with as many public faces as there are hard negatives, drawn at random for every client and round.

    It differs from FedFR with hard negatives only in which public faces it trains on. In the first round it has as many
    images and steps as FedFR; in later ones each has those that the search gives under its own model.
    """

    def public_faces(self, context: RoundContext) -> torch.Tensor:
        """Return as many random public faces as FedFR's search selects with these settings, in ascending order."""
        count = len(super().public_faces(context))
        generator = torch_generator(context.settings.seed, "public faces", context.client, context.round)
        return torch.randperm(len(context.public), generator=generator)[:count].sort().values
