"""Decoupled feature customization: a client's own transform of the feature and its one-vs-all branches."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from fedfr.core.errors import FedfrError

__all__ = ["DFC", "Bottleneck", "TransformKind"]

TransformKind = Literal["linear", "bottleneck"]

# Four parallel branches, each narrowed to a quarter: 512 → 128 → 128.
_BRANCHES = 4


class Bottleneck(nn.Module):
    """Four parallel narrow two-layer branches, concatenated and added to the input.

    The last layer starts at a hundredth of its usual size, so that the transform begins near the identity, as the
    linear one does.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        width = dim // _BRANCHES
        self.narrow = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, width), nn.LeakyReLU(), nn.Linear(width, width), nn.LeakyReLU())
            for _ in range(_BRANCHES)
        )
        self.widen = nn.Linear(width * _BRANCHES, dim)
        with torch.no_grad():
            self.widen.weight.mul_(0.01)
            self.widen.bias.zero_()

    def forward(self, u: Tensor) -> Tensor:
        """(N, D) to (N, D)."""
        joined: Tensor = self.widen(torch.cat([branch(u) for branch in self.narrow], dim=1))
        return u + joined


class DFC(nn.Module):
    """The private head of one client: ``z' = T(u)`` and one binary classifier for each of its identities.

    FedFR (arXiv 2112.12496), decoupled feature customization. Entries: ``transform.*`` and ``branches.weight`` (K, D),
    ``branches.bias`` (K,); :func:`fedfr.models.load_foreign_dfc` reads the authors' own files.
    """

    def __init__(self, num_identities: int, dim: int, transform: TransformKind = "linear") -> None:
        super().__init__()
        self.transform: nn.Module
        if transform == "linear":
            self.transform = nn.Linear(dim, dim)
            nn.init.eye_(self.transform.weight)
            nn.init.zeros_(self.transform.bias)
        elif transform == "bottleneck":
            self.transform = Bottleneck(dim)
        else:
            raise FedfrError(f"transform is {transform!r}; allowed are 'linear' and 'bottleneck'; choose one of them")
        self.branches = nn.Linear(dim, num_identities)
        nn.init.normal_(self.branches.weight, std=0.01)
        nn.init.zeros_(self.branches.bias)

    def transform_features(self, u: Tensor) -> Tensor:
        """The personalized feature ``T(u)``, (N, D) to (N, D), not normalized."""
        transformed: Tensor = self.transform(u)
        return transformed

    def forward(self, u: Tensor) -> Tensor:
        """Same as :meth:`transform_features`: the personalized model is ``T ∘ f``; branches serve training alone."""
        return self.transform_features(u)

    def initialize_branches(self, prototypes: Tensor) -> None:
        """Start every branch as a copy of the prototype of its identity, (K, D), with zero bias."""
        if prototypes.shape != self.branches.weight.shape:
            raise FedfrError(
                f"prototypes have shape {tuple(prototypes.shape)}; the branches need "
                f"{tuple(self.branches.weight.shape)}, one row for each identity; pass the client's own prototypes"
            )
        with torch.no_grad():
            self.branches.weight.copy_(prototypes)
            self.branches.bias.zero_()
