"""Softmax margin losses: CosFace and ArcFace logits over prototypes."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from fedfr.losses.precision import at_least_single, full_precision

__all__ = ["arcface_logits", "cosface_logits", "cosine", "repeat_private_negatives"]

# The largest cosine below 1 that leaves d arccos / d cos finite in single precision.
_EDGE = 1.0 - 1e-6


def cosine(features: Tensor, prototypes: Tensor) -> Tensor:
    """Cosine similarity of every feature with every prototype.

    ``features`` (N, D), ``prototypes`` (K, D); returns (N, K) in [-1, 1], at least float32. A zero vector gives zeros.
    """
    with full_precision(features):
        left = functional.normalize(at_least_single(features), dim=1)
        right = functional.normalize(at_least_single(prototypes), dim=1)
        return left @ right.T


def cosface_logits(
    features: Tensor, prototypes: Tensor, labels: Tensor, scale: float = 30.0, margin: float = 0.4
) -> Tensor:
    """CosFace logits ``s·(cos(z, φ_j) − m·1[j = y])``, to be given to a cross-entropy.

    ``features`` (N, D) and ``prototypes`` (K, D) of any length, ``labels`` (N,) int64 in 0..K-1; returns (N, K).
    Wang et al., CosFace, CVPR 2018 (arXiv 1801.09414), eq. 4.
    """
    cosines = cosine(features, prototypes)
    own = labels.unsqueeze(1) == torch.arange(prototypes.shape[0], device=labels.device)
    return scale * (cosines - margin * own)


def arcface_logits(
    features: Tensor, prototypes: Tensor, labels: Tensor, scale: float = 64.0, margin: float = 0.5
) -> Tensor:
    """ArcFace logits ``s·cos(θ_j + m·1[j = y])`` without easy margin, to be given to a cross-entropy.

    ``features`` (N, D) and ``prototypes`` (K, D) of any length, ``labels`` (N,) int64 in 0..K-1, ``margin`` in radians;
    returns (N, K). Deng et al., ArcFace, CVPR 2019 (arXiv 1801.07698), eq. 3.
    """
    cosines = cosine(features, prototypes)
    rows = labels.unsqueeze(1)
    own = cosines.gather(1, rows)
    # cos(θ + m) by the addition theorem. The sine has an infinite slope at θ = 0 and θ = π: keep away from both.
    sines = torch.sqrt(1.0 - own.clamp(-_EDGE, _EDGE) ** 2)
    shifted = own * math.cos(margin) - sines * math.sin(margin)
    return scale * cosines.scatter(1, rows, shifted)


def repeat_private_negatives(logits: Tensor, labels: Tensor, num_private: int, repeats: int) -> Tensor:
    """Append every private negative logit ``repeats`` more times, as if the other clients' identities were there.

    ``logits`` (N, K) with the ``num_private`` private identities first, ``labels`` (N,) in 0..K-1. The first
    ``num_private`` of the K-1 logits other than the label's are repeated, so a private sample adds one public logit;
    they carry no gradient. Returns (N, K + num_private·repeats). The optional re-weighting of FedFR's released code,
    with ``repeats`` the number of clients minus one.
    """
    columns = torch.arange(min(num_private, logits.shape[1] - 1), device=logits.device)
    # The label's own column is stepped over; a mask would say the same, but a device must be waited for to read one.
    negatives = logits.detach().gather(1, columns + (columns >= labels.unsqueeze(1)))
    return torch.cat([logits, negatives.repeat(1, repeats)], dim=1)
