"""Verification, 1:1: how many genuine pairs are accepted at a given rate of accepted impostors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedfr.errors import FedfrError
from fedfr.evaluation.figures import Figure, figure_at_rate
from fedfr.evaluation.scores import Scores, highest, normalised, pair_scores

__all__ = ["kfold_accuracy", "personalized_verification", "tar_at_far"]

_BINS = 2001


def tar_at_far(genuine: Scores, impostor: Scores, fars: Sequence[float]) -> list[Figure]:
    """TAR at each FAR from scores at hand (method, section 5).

    Threshold: the ⌊FAR · N_imp⌋-th (0-based) highest impostor score; a genuine pair is accepted strictly above it.
    """
    return _exact(np.sort(genuine), lambda: [impostor], len(impostor), fars)


def personalized_verification(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    own: NDArray[np.bool_],
    fars: Sequence[float],
    *,
    binned: bool = False,
) -> list[Figure]:
    """TAR at each FAR over all pairs of images of which at least one is ``own`` (method, section 5).

    ``features`` (N, D), any length; ``labels`` (N,) identities; ``own`` (N,) marks the client's images – all of them
    for a generic evaluation. ``binned``: the released code's 2 001 bins of 0.001 with interpolation. Memory is bounded.
    """
    if not len(features) == len(labels) == len(own):
        raise FedfrError(f"{len(features)} features, {len(labels)} labels and {len(own)} marks do not belong together")
    scaled = normalised(features)
    genuine_parts, impostors = [], 0
    histogram = np.zeros(_BINS, np.int64)
    for same, different in pair_scores(scaled, labels, own):
        genuine_parts.append(same)
        impostors += different.size
        if binned:
            histogram += np.bincount(_bin(different), minlength=_BINS)
    genuine = np.sort(np.concatenate(genuine_parts)) if genuine_parts else np.empty(0, np.float32)
    if not binned:
        return _exact(genuine, lambda: (part for _, part in pair_scores(scaled, labels, own)), impostors, fars)
    values = _interpolated(np.bincount(_bin(genuine), minlength=_BINS), histogram, fars)
    return [
        figure_at_rate("TAR@FAR", far, value, genuine.size, impostors, far * impostors)
        for far, value in zip(fars, values, strict=True)
    ]


def _exact(genuine: Scores, stream: object, impostors: int, fars: Sequence[float]) -> list[Figure]:
    if impostors == 0:
        return [figure_at_rate("TAR@FAR", far, None, genuine.size, 0, 0.0) for far in fars]
    ranks = [min(int(np.floor(far * impostors)), impostors - 1) for far in fars]
    thresholds = highest(stream, ranks)  # type: ignore[arg-type]
    figures = []
    for far, threshold in zip(fars, thresholds, strict=True):
        accepted = genuine.size - int(np.searchsorted(genuine, np.float32(threshold), side="right"))
        tar = accepted / genuine.size if genuine.size else None
        figures.append(figure_at_rate("TAR@FAR", far, tar, genuine.size, impostors, far * impostors))
    return figures


def _bin(scores: Scores) -> NDArray[np.int64]:
    return np.clip(np.floor((scores + 1) * 1000), 0, _BINS - 1).astype(np.int64)


def _interpolated(
    genuine: NDArray[np.int64], impostor: NDArray[np.int64], fars: Sequence[float]
) -> list[float | None]:
    if genuine.sum() == 0 or impostor.sum() == 0:
        return [None] * len(fars)
    tar = np.cumsum(genuine[::-1]) / genuine.sum()
    far = np.cumsum(impostor[::-1]) / impostor.sum()
    # Where bins add no impostor, FAR stays and TAR grows: the last of them counts.
    last = np.append(far[1:] != far[:-1], True)
    return [float(value) for value in np.interp(fars, far[last], tar[last])]


def kfold_accuracy(
    first: NDArray[np.float32], second: NDArray[np.float32], same: NDArray[np.bool_], folds: int = 10
) -> tuple[float, float]:
    """Mean and standard deviation over folds of the pair accuracy, as InsightFace computes it.

    ``first``, ``second`` (P, D): features of the two images of each pair. Squared Euclidean distance of the normalised
    features, thresholds 0…4 by 0.01, unshuffled folds in file order; the best threshold on the others is used on each
    fold, a pair being the same person strictly below it.
    """
    if len(same) < folds:
        raise FedfrError(f"{len(same)} pairs cannot be divided into {folds} folds; give at least {folds} pairs")
    distances = np.square(normalised(first, "first") - normalised(second, "second")).sum(axis=1)
    thresholds = np.arange(0, 4, 0.01)
    correct = (distances[None, :] < thresholds[:, None]) == same[None, :]
    accuracies = []
    for test in np.array_split(np.arange(len(same)), folds):
        train = np.setdiff1d(np.arange(len(same)), test)
        best = int(np.argmax(correct[:, train].mean(axis=1)))
        accuracies.append(float(correct[best, test].mean()))
    return float(np.mean(accuracies)), float(np.std(accuracies))
