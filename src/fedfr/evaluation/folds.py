"""K-fold verification accuracy and validation rates as InsightFace's verification.py computes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError

__all__ = ["fold_accuracies", "fold_validation_rates"]

# 0, 0.01, ... 3.99: squared Euclidean distances of features of length one lie between 0 and 4.
THRESHOLDS = np.arange(0, 4, 0.01)
FINE_THRESHOLDS = np.arange(0, 4, 0.001)


def fold_accuracies(
    features_a: NDArray[np.float32], features_b: NDArray[np.float32], same: NDArray[np.bool_], folds: int = 10
) -> NDArray[np.float64]:
    """Return the accuracy on each fold at the threshold that is best on the other folds, (folds,) float64.

    Features (P, D) have length one; folds are consecutive runs of pairs in the given order. A pair is classified as
    "same" if its squared distance is strictly below the threshold; of equally good thresholds the smallest is used.
    """
    count = len(same)
    fold_of = _fold_of(count, folds)
    distances = _distances(features_a, features_b)
    correct = np.zeros((folds, len(THRESHOLDS)), np.int64)
    for fold in range(folds):
        chosen = fold_of == fold
        called_same = distances[chosen][:, None] < THRESHOLDS
        correct[fold] = (called_same == same[chosen][:, None]).sum(axis=0)
    sizes = np.bincount(fold_of, minlength=folds)
    accuracies = np.empty(folds)
    for fold in range(folds):
        best = np.argmax((correct.sum(axis=0) - correct[fold]) / (count - sizes[fold]))
        accuracies[fold] = correct[fold, best] / sizes[fold]
    return accuracies


def fold_validation_rates(
    features_a: NDArray[np.float32],
    features_b: NDArray[np.float32],
    same: NDArray[np.bool_],
    far: float,
    folds: int = 10,
) -> NDArray[np.float64] | None:
    """Return each fold's TAR at the threshold that has this FAR on the other folds, (folds,) float64.

    InsightFace's "VAL": thresholds are 0, 0.001, … 3.999, interpolated linearly between those of different FAR; the
    threshold is 0 where none reaches ``far``. None where a fold has no genuine pair or the other folds no impostor.
    Arguments are as for :func:`fold_accuracies`.
    """
    fold_of = _fold_of(len(same), folds)
    distances = _distances(features_a, features_b)
    rates = np.empty(folds)
    for fold in range(folds):
        genuine = distances[(fold_of == fold) & same]
        impostor = np.sort(distances[(fold_of != fold) & ~same])
        if not len(genuine) or not len(impostor):
            return None
        accepted = np.searchsorted(impostor, FINE_THRESHOLDS, side="left") / len(impostor)
        threshold = np.interp(far, accepted, FINE_THRESHOLDS) if accepted[-1] >= far else 0.0
        rates[fold] = (genuine < threshold).mean()
    return rates


def _distances(features_a: NDArray[np.float32], features_b: NDArray[np.float32]) -> NDArray[np.float64]:
    squared: NDArray[np.float64] = np.square(features_a.astype(np.float64) - features_b).sum(axis=1)
    return squared


def _fold_of(count: int, folds: int) -> NDArray[np.int64]:
    if not isinstance(folds, int) or not 2 <= folds <= count:
        raise FedfrError(f"found {folds} folds for {count} pairs; give 2 folds or more, and at least a pair for each")
    return np.repeat(np.arange(folds), [count // folds + (fold < count % folds) for fold in range(folds)])
