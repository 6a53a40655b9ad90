"""Measures of an inference: AUC with an interval over people, TPR at 1 % FPR, and the control with shuffled truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedfr.core.rng import numpy_generator

__all__ = ["FEWEST_PEOPLE", "Guesses", "Measured", "auc", "measure", "score_interval"]

FEWEST_PEOPLE = 3
"""Fewest people on each side for an interval."""

_RESAMPLES = 1000
_PERMUTATIONS = 200
_FPR = 0.01
_Z = 1.959964


@dataclass(frozen=True)
class Guesses:
    """Scores (observed, units) of an inference with the truth.

    ``counted``: which scores count, all by default. A unit is a person; the rows of one unit are not independent.
    """

    scores: NDArray[np.float64]
    truth: NDArray[np.bool_]
    counted: NDArray[np.bool_]

    def values(
        self, units: NDArray[np.int64] | None = None, shuffled: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the counted scores of ``units`` and their truth, that of the units ``shuffled`` in its place."""
        chosen = np.arange(self.scores.shape[1]) if units is None else units
        counted = self.counted[:, chosen]
        truth = self.truth[:, chosen if shuffled is None else shuffled]
        return self.scores[:, chosen][counted], truth[counted]

    def people(self, truth: bool) -> int:
        """Return the number of units with a counted score of which this is the truth."""
        return int((self.counted & (self.truth == truth)).any(0).sum())


@dataclass(frozen=True)
class Measured:
    """AUC with its 95 % interval, TPR at 1 % FPR, numbers of people, and the control with shuffled truth.

    ``low`` and ``high`` are None with fewer than :data:`FEWEST_PEOPLE` people on a side. ``negatives``: scores that the
    TPR rests on. ``shuffled``: mean AUC with the truth of the people exchanged at random, ``shuffled_low`` and
    ``shuffled_high`` its 2.5 % and 97.5 % quantiles.
    """

    auc: float
    low: float | None
    high: float | None
    tpr: float
    positives: int
    negatives: int
    negative_scores: int
    shuffled: float
    shuffled_low: float
    shuffled_high: float


def auc(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return the probability that a true score is above a false one, ties counted half; NaN without one of them.

    >>> import numpy as np
    >>> from fedfr.privacy.audit.measures import auc
    >>> auc(np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False]))
    0.875
    """
    positive, negative = scores[truth], np.sort(scores[~truth])
    if not len(positive) or not len(negative):
        return math.nan
    below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
    return float(below.sum() / (2 * len(positive) * len(negative)))


def measure(guesses: Guesses, seed: int) -> Measured | None:
    """Measure an inference; None if all counted truths are the same."""
    scores, truth = guesses.values()
    found = auc(scores, truth)
    if math.isnan(found):
        return None
    positives, negatives = guesses.people(True), guesses.people(False)
    low, high = _interval(guesses, found, positives, negatives, seed)
    false = np.sort(scores[~truth])[::-1]
    threshold = false[int(_FPR * len(false))]
    shuffled = np.array([value for value in _shuffled(guesses, seed) if not math.isnan(value)])
    return Measured(
        found,
        low,
        high,
        float((scores[truth] > threshold).mean()),
        positives,
        negatives,
        len(false),
        float(shuffled.mean()),
        float(np.quantile(shuffled, 0.025)),
        float(np.quantile(shuffled, 0.975)),
    )


def _interval(
    guesses: Guesses, found: float, positives: int, negatives: int, seed: int
) -> tuple[float | None, float | None]:
    """Return the wider one, on each side, of the bootstrap over people and :func:`score_interval`.

    The bootstrap alone would give [1, 1] for any number of people if all scores are in order.
    """
    if min(positives, negatives) < FEWEST_PEOPLE:
        return None, None
    drawn = numpy_generator(seed, "audit", "bootstrap")
    units = np.flatnonzero(guesses.counted.any(0))
    resampled = [auc(*guesses.values(drawn.choice(units, len(units)))) for _ in range(_RESAMPLES)]
    low, high = np.nanquantile(resampled, (0.025, 0.975))
    least, most = score_interval(found, positives, negatives)
    return min(float(low), least), max(float(high), most)


def _shuffled(guesses: Guesses, seed: int) -> list[float]:
    drawn = numpy_generator(seed, "audit", "shuffled")
    units = np.flatnonzero(guesses.counted.any(0))
    return [auc(*guesses.values(units, drawn.permutation(units))) for _ in range(_PERMUTATIONS)]


def score_interval(found: float, positives: int, negatives: int) -> tuple[float, float]:
    """Return the 95 % score interval of an AUC from numbers of people (Newcombe, Stat. Med. 2006, method 5).

    It has a width for an AUC of 0 and 1 as well.

    >>> from fedfr.privacy.audit.measures import score_interval
    >>> [round(limit, 2) for limit in score_interval(1.0, 5, 5)]
    [0.64, 1.0]
    """
    more = (positives + negatives) / 2 - 1

    def excess(value: float) -> float:
        spread = 1 + more * (1 - value) / (2 - value) + more * value / (1 + value)
        return (found - value) ** 2 - _Z**2 * value * (1 - value) * spread / (positives * negatives)

    return _root(excess, 0.0, found), _root(excess, 1.0, found)


def _root(excess: Callable[[float], float], outer: float, inner: float) -> float:
    """Return the boundary, between ``outer`` and ``inner``, of the values that are not excluded."""
    if excess(outer) <= 0:
        return outer
    for _ in range(60):
        middle = (outer + inner) / 2
        outer, inner = (middle, inner) if excess(middle) > 0 else (outer, middle)
    return inner
