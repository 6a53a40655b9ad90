"""One-vs-all loss of decoupled feature customization (DFC): one binary classifier per private identity."""

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
    """Return the logits of all binary classifiers (branches), and which of them are of the image's own identity.

    ``r(g(c) − m) + b`` for the branch of the image's identity and ``r(g(c) + m) + b`` for every other branch, where
    c is the cosine of the transformed feature and the branch's weight, ``g(c) = 2((c+1)/2)^t − 1``, r ``scale``,
    m ``margin`` and t ``power``.

    ``transformed`` (N, D), ``weight`` (K, D), ``bias`` (K,), ``labels`` (N,) int64; a label of K or more (a public
    image) is negative for every branch. Returns logits (N, K) and a bool mask (N, K).

    >>> import torch
    >>> from fedfr.losses import one_vs_all_logits
    >>> feature, label = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    >>> one_vs_all_logits(feature, weight=torch.eye(2), bias=torch.zeros(2), labels=label)
    (tensor([[ 18.0000, -10.5000]]), tensor([[ True, False]]))
    """
    identities = torch.arange(weight.shape[0], device=labels.device)
    positives = labels.unsqueeze(1) == identities
    # Rounding may leave a cosine slightly below -1, where a fractional power is NaN.
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
    """Return the one-vs-all loss L_dfc, a scalar: the sum over all branches, averaged over the batch.

    The branch of the image's identity adds ``(λ/r)·softplus(−logit)``, every other branch
    ``((1−λ)/r)·softplus(logit)``, with λ ``positive_weight`` in [0, 1] and r ``scale``; logits and shapes as in
    :func:`one_vs_all_logits`.
    Wen et al., SphereFace2, ICLR 2022 (arXiv 2108.01513), eq. 7; FedFR (arXiv 2112.12496), decoupled feature
    customization.

    >>> import torch
    >>> from fedfr.losses import one_vs_all_loss
    >>> features, labels = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([0, 2])  # label 2: a public image
    >>> one_vs_all_loss(features, weight=torch.eye(2), bias=torch.zeros(2), labels=labels)
    tensor(0.1923)
    """
    logits, positives = one_vs_all_logits(transformed, weight, bias, labels, scale=scale, margin=margin, power=power)
    own, others = positive_weight * functional.softplus(-logits), (1 - positive_weight) * functional.softplus(logits)
    terms = torch.where(positives, own, others)
    return terms.sum(dim=1).mean() / scale
