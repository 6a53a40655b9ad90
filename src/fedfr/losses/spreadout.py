"""SpreadOut: push the prototypes of all clients apart at the server."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fedfr.losses.margin import cosine

__all__ = ["spreadout_loss"]


def spreadout_loss(prototypes: Tensor, margin: float = 0.4, reduction: Literal["sum", "mean"] = "sum") -> Tensor:
    """``Σ_{i≠j} max(0, cos(φ_i, φ_j) − margin)²`` over ordered pairs, or its mean over the K·(K−1) pairs.

    ``prototypes`` (K, D) of any length; returns a scalar, zero for a single prototype.
    Aggarwal et al., FedFace, IJCB 2021 (arXiv 2104.03008), eq. 8.
    """
    count = prototypes.shape[0]
    excess = (cosine(prototypes, prototypes) - margin).clamp_min(0.0)
    apart = ~torch.eye(count, dtype=torch.bool, device=prototypes.device)
    # where() and not a product: the diagonal must leave no gradient of 0·(something) behind.
    total = torch.where(apart, excess**2, 0.0).sum()
    return total if reduction == "sum" else total / max(count * (count - 1), 1)
