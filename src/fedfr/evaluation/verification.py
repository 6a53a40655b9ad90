"""1:1 verification: exact TAR at fixed FAR over all pairs of a set, a client's own pairs, or given pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedfr.core.errors import FedfrError
from fedfr.evaluation.array_inputs import as_features, as_flags, as_rates, as_scores
from fedfr.evaluation.binned import binned_tar
from fedfr.evaluation.block_comparisons import OwnPairs
from fedfr.evaluation.folds import fold_accuracies
from fedfr.evaluation.metrics import MINIMUM_IMPOSTORS, Metric, empty_metric, exact_product, rate_label
from fedfr.evaluation.scores import ScoreBlock, ScoreStream, likely_bins, operating_points
from fedfr.evaluation.unit_features import normalize

__all__ = [
    "equal_error_rate",
    "personalized_verification",
    "tar_at_far",
    "verify",
    "verify_pairs",
]

# Below this many pairs a second pass costs less than a sample.
SAMPLED_ABOVE = 1 << 24

Floats = NDArray[np.floating[Any]]


def tar_at_far(
    genuine: ArrayLike, impostor: ArrayLike, fars: Sequence[float], *, minimum_impostors: int = MINIMUM_IMPOSTORS
) -> list[Metric]:
    """Return the exact TAR at every FAR from the scores of genuine and impostor pairs.

    The threshold is the ⌊FAR·N⌋-th (from 0) highest of the N impostor scores; acceptance is strictly above it. Scores
    are compared as float32. Raises :class:`FedfrError` naming the first NaN.

    >>> from fedfr.evaluation import tar_at_far
    >>> impostor = [0.01 * number for number in range(20)]
    >>> tar_at_far([0.05, 0.15, 0.4, 0.9], impostor, [0.5])
    [Metric(name='TAR@FAR=5e-1', value=0.75, genuine=4, impostor=20, impostors_above=10, threshold=0.09)]
    """
    own, others = as_scores(genuine, "genuine"), as_scores(impostor, "impostor")
    nothing = np.empty(0, np.float32)
    block = ScoreBlock(others.astype(np.float32), nothing, own.astype(np.float32))
    return _tar(lambda: (block,), own.size, others.size, fars, minimum_impostors)


def personalized_verification(
    features: ArrayLike,
    labels: ArrayLike,
    own: ArrayLike,
    fars: Sequence[float],
    *,
    minimum_impostors: int = MINIMUM_IMPOSTORS,
    binned: bool = False,
    cohort: ArrayLike | None = None,
) -> list[Metric]:
    """Return the exact TAR at every FAR over all unordered pairs with at least one of the client's own images.

    ``features`` (N, D) need not be normalized, ``labels`` (N,) integers, ``own`` (N,) bool. Memory is bounded;
    ``binned`` gives the approximation of the released code instead (FedFR, arXiv 2112.12496, section 4.1). Otherwise as
    :func:`verify`, in which every image is the client's own.

    >>> from fedfr.evaluation import personalized_verification
    >>> features = [[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9], [0.6, 0.8]]
    >>> own = [True, True, False, False, False]
    >>> personalized_verification(features, [0, 0, 1, 1, 2], own, [0.5], minimum_impostors=1)
    [Metric(name='TAR@FAR=5e-1', value=1, genuine=1, impostor=6, impostors_above=3, threshold=0.1104)]
    """
    if binned and cohort is not None:
        raise FedfrError("binned verification counts cosines from -1 to 1; it cannot be used with a cohort")
    pairs = OwnPairs(features, labels, own, cohort=cohort)
    genuine, impostor = pairs.genuine, pairs.impostor
    return _tar(pairs.blocks, genuine, impostor, fars, minimum_impostors, sample=pairs.sample, binned=binned)


def verify(
    features: ArrayLike,
    labels: ArrayLike,
    fars: Sequence[float],
    *,
    minimum_impostors: int = MINIMUM_IMPOSTORS,
    binned: bool = False,
    cohort: ArrayLike | None = None,
) -> list[Metric]:
    """Return the exact TAR at every FAR over all unordered pairs of a labelled set, scored by the cosine.

    ``features`` (N, D) need not be normalized, ``labels`` (N,) integers; arrays, lists and torch tensors are accepted.
    Every metric holds its threshold and the numbers of genuine and impostor pairs; it is refused (``value`` None) where
    fewer than ``minimum_impostors`` impostors are expected above the threshold. The features of other people as
    ``cohort`` (C, D) normalize the scores (AS-norm, :mod:`fedfr.evaluation.score_normalization`). Raises
    :class:`FedfrError` for NaN, infinity, other shapes, and rates outside 0 … 1.

    >>> import numpy as np
    >>> from fedfr.evaluation import verify
    >>> labels = np.repeat(np.arange(10), 4)
    >>> features = np.eye(10)[labels] + np.random.default_rng(0).normal(0, 0.3, (40, 10))
    >>> for metric in verify(features, labels, fars=[0.1, 0.001]):
    ...     print(metric.name, metric.genuine, metric.impostor, metric.refused or f"{metric.value:.3f}")
    TAR@FAR=1e-1 60 720 0.867
    TAR@FAR=1e-3 60 720 rests on 0.72 impostors; at least 10 are needed
    """
    given = as_features(features)
    own = np.ones(len(given), np.bool_)
    return personalized_verification(
        given, labels, own, fars, minimum_impostors=minimum_impostors, binned=binned, cohort=cohort
    )


def verify_pairs(
    features_a: ArrayLike,
    features_b: ArrayLike,
    same: ArrayLike,
    fars: Sequence[float] = (),
    *,
    folds: int = 10,
    minimum_impostors: int = MINIMUM_IMPOSTORS,
) -> list[Metric]:
    """Return k-fold accuracy as InsightFace computes it, its standard deviation over folds, and the TAR at every FAR.

    ``features_a`` and ``features_b`` (P, D) are the two sides of each pair and need not be normalized; ``same`` (P,)
    bool. Folds are consecutive runs of pairs in the given order. Raises :class:`FedfrError` as :func:`verify` does.

    >>> import numpy as np
    >>> from fedfr.evaluation import verify_pairs
    >>> same = np.tile([True, False], 100)
    >>> left = np.random.default_rng(0).normal(size=(200, 16))
    >>> right = np.where(same[:, None], left, 0) + np.random.default_rng(1).normal(size=(200, 16))
    >>> for metric in verify_pairs(left, right, same, fars=[0.1]):
    ...     print(f"{metric.name} {metric.value:.2f}")
    accuracy 0.95
    accuracy-std 0.03
    TAR@FAR=1e-1 1.00
    """
    rows_a, rows_b = as_features(features_a, "features_a"), as_features(features_b, "features_b")
    if rows_a.shape != rows_b.shape:
        raise FedfrError(f"features_a have shape {rows_a.shape}, features_b {rows_b.shape}; give the same for both")
    genuine_pairs = as_flags(same, len(rows_a), "same")
    left, right = normalize(rows_a, "features_a"), normalize(rows_b, "features_b")
    accuracies = fold_accuracies(left, right, genuine_pairs, folds)
    genuine = int(genuine_pairs.sum())
    impostor = len(genuine_pairs) - genuine
    measurements = [
        Metric("accuracy", float(accuracies.mean()), genuine, impostor, float(impostor)),
        Metric("accuracy-std", float(accuracies.std()), genuine, impostor, float(impostor)),
    ]
    scores = np.einsum("pd,pd->p", left, right)
    tars = tar_at_far(scores[genuine_pairs], scores[~genuine_pairs], fars, minimum_impostors=minimum_impostors)
    return measurements + tars


def equal_error_rate(genuine: Floats, impostor: Floats) -> float:
    """Return the error rate at which the shares of rejected genuine and of accepted impostor scores are equal.

    Scores strictly above the threshold are accepted. Between the two neighbouring thresholds where the order of the two
    shares changes, both are interpolated linearly. Raises ``ValueError`` where either array is empty.
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
    given_fars: Sequence[float],
    minimum: int,
    *,
    sample: Callable[[], NDArray[np.float32]] | None = None,
    binned: bool = False,
) -> list[Metric]:
    fars = as_rates(given_fars, "fars")
    measurements = [empty_metric(f"TAR@FAR={rate_label(far)}", far, genuine, impostor, minimum) for far in fars]
    given = [index for index, metric in enumerate(measurements) if not metric.refused]
    if binned and given:
        for index, value in zip(given, binned_tar(stream, [fars[index] for index in given]), strict=True):
            measurements[index] = replace(measurements[index], value=value)
        return measurements
    ranks = [math.floor(exact_product(fars[index], impostor)) for index in given]
    guess = likely_bins(sample(), ranks, impostor) if sample and ranks and impostor > SAMPLED_ABOVE else ()
    for index, point in zip(given, operating_points(stream, ranks, guess), strict=True):
        measurements[index] = replace(measurements[index], value=point.accepted / genuine, threshold=point.threshold)
    return measurements
