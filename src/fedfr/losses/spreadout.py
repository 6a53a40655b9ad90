"""SpreadOut regularization of the prototypes at the server (FedFace)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fedfr.losses.margin import cosine

__all__ = ["spreadout_loss"]


def spreadout_loss(prototypes: Tensor, margin: float = 0.4, reduction: Literal["sum", "mean"] = "sum") -> Tensor:
    """Return the SpreadOut loss, which pushes prototypes apart whose cosine exceeds ``margin``, a scalar.

    ``Σ_{i≠j} max(0, cos(φ_i, φ_j) − margin)²`` over ordered pairs; ``reduction="mean"`` divides by their number,
    K·(K−1). ``prototypes`` is (K, D), of any length. The loss of a single prototype is zero.
    Aggarwal et al., FedFace, IJCB 2021 (arXiv 2104.03008), eq. 8.

    >>> import torch
    >>> from fedfr.losses import spreadout_loss
    >>> spreadout_loss(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))  # one pair, counted twice: 2 · (1 - 0.4)²
    tensor(0.7200)
    """
    count = prototypes.shape[0]
    excess = (cosine(prototypes, prototypes) - margin).clamp_min(0.0)
    apart = ~torch.eye(count, dtype=torch.bool, device=prototypes.device)
    # where() instead of a product: the diagonal must not contribute a gradient of 0 · (something).
    total = torch.where(apart, excess**2, 0.0).sum()
    return total if reduction == "sum" else total / max(count * (count - 1), 1)
