"""InsightFace's IJB evaluation in plain loops, as a reference for tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def templates(
    features: Floats,
    images: Sequence[tuple[int, int]],
    scores: Sequence[float],
    *,
    norm: bool = True,
    faceness: bool = True,
) -> dict[int, NDArray[np.float64]]:
    """By template: the mean of the weighted features of each medium, their sum, of length one."""
    media: dict[int, dict[int, list[NDArray[np.float64]]]] = {}
    for feature, (template, medium), score in zip(features, images, scores, strict=True):
        value = np.array([float(each) for each in feature])
        if not norm:
            value = value / math.sqrt(sum(each * each for each in value))
        if faceness:
            value = value * float(np.float32(score))
        media.setdefault(template, {}).setdefault(medium, []).append(value)
    made: dict[int, NDArray[np.float64]] = {}
    for template, groups in media.items():
        total = np.zeros(len(features[0]))
        for group in groups.values():
            for value in group:
                total = total + value / len(group)
        made[template] = total / math.sqrt(sum(each * each for each in total))
    return made


def roc_points(scores: Sequence[float], same: Sequence[int]) -> list[tuple[int, int]]:
    """(impostor, genuine) at or above each distinct score, from none to all, as sklearn.metrics.roc_curve keeps them.

    scikit-learn 1.x, ``drop_intermediate=True``: a point goes when both counts step equally before and after it; then
    (0, 0) is put in front.
    """
    points = []
    for threshold in sorted(set(scores), reverse=True):
        accepted = [mark for score, mark in zip(scores, same, strict=True) if score >= threshold]
        points.append((len(accepted) - sum(accepted), sum(accepted)))
    kept = []
    for number, point in enumerate(points):
        if 0 < number < len(points) - 1:
            before, after = points[number - 1], points[number + 1]
            if all(after[axis] - point[axis] == point[axis] - before[axis] for axis in (0, 1)):
                continue
        kept.append(point)
    return [(0, 0), *kept]


def nearest_tar(scores: Sequence[float], same: Sequence[int], far: float) -> float:
    """InsightFace: both rates reversed, then the least of (|fpr - far|, index)."""
    points = roc_points(scores, same)
    rates = [(impostor / points[-1][0], genuine / points[-1][1]) for impostor, genuine in points][::-1]
    _, index = min((abs(rate - far), number) for number, (rate, _) in enumerate(rates))
    return rates[index][1]


def exact_tar(scores: Sequence[float], same: Sequence[int], far: float) -> float:
    """Ours: strictly above the ⌊FAR·N⌋-th (from 0) highest impostor score."""
    impostor = sorted((s for s, mark in zip(scores, same, strict=True) if not mark), reverse=True)
    genuine = [s for s, mark in zip(scores, same, strict=True) if mark]
    threshold = impostor[math.floor(round(far * len(impostor), 9))]
    return sum(score > threshold for score in genuine) / len(genuine)


def open_set(
    made: Mapping[int, NDArray[np.float64]],
    gallery: Mapping[int, int],
    probes: Mapping[int, int],
    fpir: float | None = None,
    rank: int | None = None,
) -> float:
    """TPIR at FPIR, or the share within a rank, of one gallery; probes of subjects absent from it are non-mated."""
    mated, non_mated = [], []
    for probe, subject in sorted(probes.items()):
        scores = {template: float(made[probe] @ made[template]) for template in gallery}
        own = [template for template, enrolled in gallery.items() if enrolled == subject]
        if own:
            others = [score for template, score in scores.items() if template != own[0]]
            mated.append((scores[own[0]], others))
        else:
            non_mated.append(max(scores.values()))
    if rank is not None:
        return sum(sum(other >= own for other in others) < rank for own, others in mated) / len(mated)
    assert fpir is not None
    threshold = sorted(non_mated, reverse=True)[math.floor(round(fpir * len(non_mated), 9))]
    return sum(own > threshold and own > max(others) for own, others in mated) / len(mated)


def merged(
    made: Mapping[int, NDArray[np.float64]],
    gallery: Mapping[int, int],
    probes: Mapping[int, int],
    far: float,
) -> float:
    """InsightFace's ijb_1n.py: the ceil(Q·FAR)-th highest score with another's template; own scores above it count."""
    own: list[float] = []
    others: list[float] = []
    for probe, subject in probes.items():
        for template, enrolled in gallery.items():
            (own if enrolled == subject else others).append(float(made[probe] @ made[template]))
    threshold = sorted(others, reverse=True)[math.ceil(len(probes) * far) - 1]
    return sum(score > threshold for score in own) / len(probes)
