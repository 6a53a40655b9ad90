"""1:1 comparison: TAR at fixed FAR, exactly, for a client's own images, a whole set, or given pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.evaluation.binned import binned_tar
from fedfr.evaluation.block_comparisons import OwnPairs
from fedfr.evaluation.folds import fold_accuracies
from fedfr.evaluation.metrics import MINIMUM_IMPOSTORS, Metric, expected, rate_label, refusable
from fedfr.evaluation.scores import Block, ScoreStream, likely_bins, operating_points
from fedfr.evaluation.unit_features import normalize

__all__ = [
    "all_pairs_verification",
    "equal_error_rate",
    "pairs_verification",
    "personalized_verification",
    "tar_at_far",
]

# Below this many pairs a second pass costs less than a sample.
SAMPLED_ABOVE = 1 << 24

Floats = NDArray[np.floating[Any]]


def tar_at_far(
    genuine: Floats, impostor: Floats, fars: Sequence[float], *, minimum_impostors: int = MINIMUM_IMPOSTORS
) -> list[Metric]:
    """TAR at every FAR: the threshold is the ⌊FAR·N⌋-th (from 0) highest of N impostor scores, accepted strictly above.

    Scores are compared as float32. Raises :class:`FedfrError` naming the first NaN.
    """
    for what, scores in (("genuine", genuine), ("impostor", impostor)):
        if np.isnan(scores).any():
            raise FedfrError(f"{what} score {int(np.argmax(np.isnan(scores)))} is NaN; every pair needs a score")
    nothing = np.empty(0, np.float32)
    block = Block(impostor.astype(np.float32), nothing, genuine.astype(np.float32))
    return _tar(lambda: (block,), genuine.size, impostor.size, fars, minimum_impostors)


def personalized_verification(
    features: Floats,
    labels: NDArray[Any],
    own: NDArray[np.bool_],
    fars: Sequence[float],
    *,
    minimum_impostors: int = MINIMUM_IMPOSTORS,
    binned: bool = False,
) -> list[Metric]:
    """TAR at every FAR over all unordered pairs with at least one of the client's own images.

    ``features`` (N, D) need not be normalized, ``labels`` (N,), ``own`` (N,) bool. Exact and in bounded memory;
    ``binned`` gives the released code's approximation instead (FedFR, arXiv 2112.12496, section 4.1).
    """
    pairs = OwnPairs(features, labels, own)
    genuine, impostor = pairs.genuine, pairs.impostor
    return _tar(pairs.blocks, genuine, impostor, fars, minimum_impostors, sample=pairs.sample, binned=binned)


def all_pairs_verification(
    features: Floats,
    labels: NDArray[Any],
    fars: Sequence[float],
    *,
    minimum_impostors: int = MINIMUM_IMPOSTORS,
    binned: bool = False,
) -> list[Metric]:
    """TAR at every FAR over all unordered pairs of a set, see :func:`personalized_verification`."""
    own = np.ones(len(features), np.bool_)
    return personalized_verification(features, labels, own, fars, minimum_impostors=minimum_impostors, binned=binned)


def pairs_verification(
    features_a: Floats,
    features_b: Floats,
    same: NDArray[np.bool_],
    fars: Sequence[float] = (),
    *,
    folds: int = 10,
    minimum_impostors: int = MINIMUM_IMPOSTORS,
) -> list[Metric]:
    """K-fold accuracy as InsightFace computes it (mean, and standard deviation over folds), then TAR at every FAR.

    ``features_a`` and ``features_b`` (P, D) are the two sides of each pair, ``same`` (P,) bool, in file order.
    """
    if features_a.shape != features_b.shape or same.shape != (len(features_a),) or same.dtype != np.bool_:
        found = f"{features_a.shape}, {features_b.shape}, {same.dtype} {same.shape}"
        raise FedfrError(f"found pairs of shapes {found}; give (P, D), (P, D) and P bools")
    left, right = normalize(features_a, "features_a"), normalize(features_b, "features_b")
    accuracies = fold_accuracies(left, right, same, folds)
    genuine = int(same.sum())
    impostor = len(same) - genuine
    measurements = [
        Metric("accuracy", float(accuracies.mean()), genuine, impostor, float(impostor)),
        Metric("accuracy-std", float(accuracies.std()), genuine, impostor, float(impostor)),
    ]
    scores = np.einsum("pd,pd->p", left, right)
    return measurements + tar_at_far(scores[same], scores[~same], fars, minimum_impostors=minimum_impostors)


def equal_error_rate(genuine: Floats, impostor: Floats) -> float:
    """The rate at which as large a share of genuine scores is rejected as of impostor scores accepted.

    Accepted is what lies strictly above the threshold. Between the two neighbouring thresholds where the order of the
    two shares changes they are taken as straight lines. Raises ``ValueError`` where either is empty.
    """
    if not genuine.size or not impostor.size:
        raise ValueError("an equal error rate needs genuine and impostor scores")
    thresholds = np.unique(np.concatenate([genuine, impostor]))
    accepted = 1 - np.searchsorted(np.sort(impostor), thresholds, "right") / impostor.size
    rejected = np.searchsorted(np.sort(genuine), thresholds, "right") / genuine.size
    # Below every score all are accepted and none is rejected.
    accepted, rejected = np.concatenate([[1.0], accepted]), np.concatenate([[0.0], rejected])
    gap = accepted - rejected
    after = int(np.argmax(gap <= 0))
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(accepted[after - 1] + share * (accepted[after] - accepted[after - 1]))


def _tar(
    stream: ScoreStream,
    genuine: int,
    impostor: int,
    fars: Sequence[float],
    minimum: int,
    *,
    sample: Callable[[], NDArray[np.float32]] | None = None,
    binned: bool = False,
) -> list[Metric]:
    measurements = [refusable(f"TAR@FAR={rate_label(far)}", far, genuine, impostor, minimum) for far in fars]
    given = [index for index, metric in enumerate(measurements) if not metric.refused]
    if binned and given:
        for index, value in zip(given, binned_tar(stream, [fars[index] for index in given]), strict=True):
            measurements[index] = replace(measurements[index], value=value)
        return measurements
    ranks = [math.floor(expected(fars[index], impostor)) for index in given]
    guess = likely_bins(sample(), ranks, impostor) if sample and ranks and impostor > SAMPLED_ABOVE else ()
    for index, point in zip(given, operating_points(stream, ranks, guess), strict=True):
        measurements[index] = replace(measurements[index], value=point.accepted / genuine, threshold=point.threshold)
    return measurements
