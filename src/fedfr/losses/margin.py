"""Softmax losses with a margin: CosFace and ArcFace logits over prototypes."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from fedfr.losses.precision import at_least_float32, full_precision

__all__ = ["arcface_logits", "cosface_logits", "cosine", "repeat_private_negatives"]

# The largest |cosine| used for the sine below: closer to 1, d arccos / d cos is infinite in float32.
_LARGEST_COSINE = 1.0 - 1e-6


def cosine(features: Tensor, prototypes: Tensor) -> Tensor:
    """Return the cosine similarity of every feature with every prototype.

    ``features`` (N, D), ``prototypes`` (K, D), both of any length. Returns (N, K) in [-1, 1] up to rounding, at least
    float32. The similarities of a zero vector are 0.

    >>> import torch
    >>> from fedfr.losses import cosine
    >>> cosine(torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    tensor([[0.6000, 0.8000]])
    """
    with full_precision(features):
        left = functional.normalize(at_least_float32(features), dim=1)
        right = functional.normalize(at_least_float32(prototypes), dim=1)
        return left @ right.T


def cosface_logits(
    features: Tensor, prototypes: Tensor, labels: Tensor, scale: float = 30.0, margin: float = 0.4
) -> Tensor:
    """Return CosFace logits ``s·(cos(z, φ_j) − m·1[j = y])``; their cross-entropy is the loss L_cos.

    ``features`` (N, D) and ``prototypes`` (K, D) of any length, ``labels`` (N,) int64 in 0..K-1. Returns (N, K).
    Wang et al., CosFace, CVPR 2018 (arXiv 1801.09414), eq. 4.

    >>> import torch
    >>> from fedfr.losses import cosface_logits
    >>> features, labels = torch.tensor([[3.0, 4.0]]), torch.tensor([1])
    >>> logits = cosface_logits(features, torch.eye(2), labels)  # 30 · 0.6 and 30 · (0.8 - 0.4)
    >>> logits
    tensor([[18., 12.]])
    >>> torch.nn.functional.cross_entropy(logits, labels)
    tensor(6.0025)
    """
    cosines = cosine(features, prototypes)
    own = labels.unsqueeze(1) == torch.arange(prototypes.shape[0], device=labels.device)
    return scale * (cosines - margin * own)


def arcface_logits(
    features: Tensor, prototypes: Tensor, labels: Tensor, scale: float = 64.0, margin: float = 0.5
) -> Tensor:
    """Return ArcFace logits ``s·cos(θ_j + m·1[j = y])``, without easy margin; their cross-entropy is the loss.

    ``features`` (N, D) and ``prototypes`` (K, D) of any length, ``labels`` (N,) int64 in 0..K-1, ``margin`` in radians.
    Returns (N, K). Deng et al., ArcFace, CVPR 2019 (arXiv 1801.07698), eq. 3.

    >>> import torch
    >>> from fedfr.losses import arcface_logits
    >>> features, labels = torch.tensor([[3.0, 4.0]]), torch.tensor([1])
    >>> logits = arcface_logits(features, torch.eye(2), labels)  # 64 · 0.6 and 64 · cos(arccos(0.8) + 0.5)
    >>> logits
    tensor([[38.4000, 26.5223]])
    >>> torch.nn.functional.cross_entropy(logits, labels)
    tensor(11.8777)
    """
    cosines = cosine(features, prototypes)
    rows = labels.unsqueeze(1)
    own = cosines.gather(1, rows)
    # cos(θ + m) by the addition theorem. The slope of the sine is infinite at θ = 0 and θ = π.
    sines = torch.sqrt(1.0 - own.clamp(-_LARGEST_COSINE, _LARGEST_COSINE) ** 2)
    shifted = own * math.cos(margin) - sines * math.sin(margin)
    return scale * cosines.scatter(1, rows, shifted)


def repeat_private_negatives(logits: Tensor, labels: Tensor, num_private: int, repeats: int) -> Tensor:
    """Append the negative logits of the private identities ``repeats`` times, for the identities of other clients.

    An optional re-weighting in FedFR's released code, where ``repeats`` is the number of clients minus one.
    ``logits`` is (N, K) with the ``num_private`` private identities first, ``labels`` (N,) int64 in 0..K-1. Of the K-1
    logits other than that of the label, the first ``num_private`` are appended; for an image of a private identity
    this includes the first public logit. The appended logits carry no gradient.
    Returns (N, K + ``repeats`` · min(``num_private``, K-1)).

    >>> import torch
    >>> from fedfr.losses import repeat_private_negatives
    >>> repeat_private_negatives(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([0]), num_private=2, repeats=1)
    tensor([[1., 2., 3., 2., 3.]])
    """
    columns = torch.arange(min(num_private, logits.shape[1] - 1), device=logits.device)
    # Skip the column of the label by arithmetic: reading a mask would make the program wait for the device.
    negatives = logits.detach().gather(1, columns + (columns >= labels.unsqueeze(1)))
    return torch.cat([logits, negatives.repeat(1, repeats)], dim=1)
