"""The one-vs-all loss of decoupled feature customization: one binary classifier for each private identity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fedfr.losses.margin import cosine

__all__ = ["one_vs_all_logits", "one_vs_all_loss"]


def one_vs_all_logits(
    transformed: Tensor,
    weight: Tensor,
    bias: Tensor,
    labels: Tensor,
    *,
    scale: float = 30.0,
    margin: float = 0.4,
    power: int = 3,
) -> tuple[Tensor, Tensor]:
    """Binary logits of all branches, and where the sample belongs to the branch.

    ``r(g(c) − m) + b`` for the sample's own identity, ``r(g(c) + m) + b`` for every other branch, with
    ``g(c) = 2((c+1)/2)^t − 1``; r is ``scale``, m ``margin``, t ``power``. ``transformed`` (N, D), ``weight`` (K, D),
    ``bias`` (K,), ``labels`` (N,) with values from K on negative for every branch.
    Returns logits (N, K) and a bool mask (N, K).
    """
    identities = torch.arange(weight.shape[0], device=labels.device)
    positives = labels.unsqueeze(1) == identities
    # Rounding may leave a cosine a hair below -1, where a fractional power would be NaN.
    half = ((cosine(transformed, weight) + 1.0) / 2.0).clamp_min(0.0)
    adjusted = 2.0 * half**power - 1.0
    logits = scale * torch.where(positives, adjusted - margin, adjusted + margin) + bias
    return logits, positives


def one_vs_all_loss(
    transformed: Tensor,
    weight: Tensor,
    bias: Tensor,
    labels: Tensor,
    *,
    scale: float = 30.0,
    margin: float = 0.4,
    positive_weight: float = 0.7,
    power: int = 3,
) -> Tensor:
    """L_dfc: summed over the branches, mean over the batch, as a scalar.

    Own identity ``(λ/r)·softplus(−logit)``, every other branch ``((1−λ)/r)·softplus(logit)``, with λ
    ``positive_weight``; logits and shapes as in :func:`one_vs_all_logits`.
    Wen et al., SphereFace2, ICLR 2022 (arXiv 2108.01513), eq. 7; FedFR (arXiv 2112.12496), decoupled feature
    customization.
    """
    logits, positives = one_vs_all_logits(transformed, weight, bias, labels, scale=scale, margin=margin, power=power)
    own, others = positive_weight * functional.softplus(-logits), (1 - positive_weight) * functional.softplus(logits)
    terms = torch.where(positives, own, others)
    return terms.sum(dim=1).mean() / scale
