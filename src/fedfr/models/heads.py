"""Decoupled feature customization (DFC): a client's feature transform and its one-vs-all branches."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from fedfr.core.errors import FedfrError

__all__ = ["DFC", "Bottleneck", "TransformKind"]

TransformKind = Literal["linear", "bottleneck"]

# Four parallel branches, each of a quarter of the width: 512 → 128 → 128.
_BRANCHES = 4


class Bottleneck(nn.Module):
    """Residual feature transform of four narrow two-layer branches, whose concatenated outputs are mapped to D values.

    The last layer is initialized at a hundredth of its usual scale, so that the transform is initially close to the
    identity, as the linear one is.
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
        """Map features (N, D) to transformed features (N, D)."""
        joined: Tensor = self.widen(torch.cat([branch(u) for branch in self.narrow], dim=1))
        return u + joined


class DFC(nn.Module):
    """Private head of one client: feature transform ``z' = T(u)`` and a binary classifier (branch) per identity.

    FedFR (arXiv 2112.12496), decoupled feature customization. Entries: ``transform.*``, ``branches.weight`` (K, D) and
    ``branches.bias`` (K,). :func:`fedfr.models.load_foreign_dfc` reads the files of the released code.
    Raises :class:`FedfrError` for an unknown ``transform``.

    >>> import torch
    >>> from fedfr.models import DFC
    >>> dfc = DFC(num_identities=3, dim=2)
    >>> dfc(torch.tensor([[3.0, 4.0]])).detach()  # the linear transform starts as the identity
    tensor([[3., 4.]])
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
        """Return the personalized features ``T(u)``, (N, D) to (N, D), not normalized."""
        transformed: Tensor = self.transform(u)
        return transformed

    def forward(self, u: Tensor) -> Tensor:
        """Return :meth:`transform_features`: the personalized model is ``T ∘ f``; branches are used in training."""
        return self.transform_features(u)

    def initialize_branches(self, prototypes: Tensor) -> None:
        """Set the weight of every branch to the prototype of its identity, (K, D), and the bias to zero.

        Raises :class:`FedfrError` if ``prototypes`` has another shape.
        """
        if prototypes.shape != self.branches.weight.shape:
            raise FedfrError(
                f"prototypes have shape {tuple(prototypes.shape)}; the branches need "
                f"{tuple(self.branches.weight.shape)}, one row for each identity; pass the client's own prototypes"
            )
        with torch.no_grad():
            self.branches.weight.copy_(prototypes)
            self.branches.bias.zero_()
