"""Outcomes at an operating point by person, from which the sampling error of a metric over people is computed.

People, not pairs of images, are the unit of sampling: all pairs of a person succeed or fail together, and an impostor
pair belongs to two people. A metric is the share of accepted genuine outcomes at the threshold that a share of the
impostor outcomes exceeds. Its first-order dependence on one person (the influence function, Hampel 1974) is

    (a_p − R · n_p) / Σ n  −  R'(x) · (f_p − x · m_p) / M

with the person's accepted and all genuine outcomes a_p and n_p, accepted and all impostor outcomes f_p and m_p, the
metric R at the error rate x, its slope R'(x), and the number M of impostor outcomes. Removing the person changes the
metric by the negative of this, up to higher orders. With few impostors above the threshold the slope is noisy, which
makes the sum of squared influences too large: about 1.4 times the variance at 15 (``tests/results/test_intervals.py``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedfr.core.short_repr import Brief
from fedfr.evaluation.array_inputs import as_features, as_labels, as_rates
from fedfr.evaluation.block_comparisons import OwnPairs
from fedfr.evaluation.identification import best_scores
from fedfr.evaluation.metrics import Metric, exact_product
from fedfr.evaluation.scores import operating_points
from fedfr.evaluation.unit_features import normalize

__all__ = ["PersonOutcomes", "identification_outcomes", "pair_outcomes", "verification_outcomes"]

Counts = NDArray[np.int64]
# The slope is taken between rates this factor below and above.
_SPREAD = 2


@dataclass(frozen=True, repr=False)
class PersonOutcomes(Brief):
    """Outcomes of one metric by person.

    ``people`` (P,) are labels in ascending order; ``genuine_accepted``, ``genuine``, ``impostor_accepted`` and
    ``impostor`` (P,) count outcomes at the metric's threshold. 1:1: an impostor pair counts for both its people.
    ``impostors`` is the number of impostor outcomes, each counted once, ``rate`` the error rate, ``slope`` the
    derivative of the metric by the error rate.
    """

    people: Counts
    genuine_accepted: Counts
    genuine: Counts
    impostor_accepted: Counts
    impostor: Counts
    impostors: int
    rate: float
    slope: float

    @property
    def value(self) -> float:
        """The metric: the share of accepted genuine outcomes."""
        return float(self.genuine_accepted.sum() / self.genuine.sum())

    def influence(self) -> NDArray[np.float64]:
        """Return the influence of every person on the metric, (P,); the sum is zero up to the threshold's ties."""
        own = (self.genuine_accepted - self.value * self.genuine) / self.genuine.sum()
        false: NDArray[np.float64] = (self.impostor_accepted - self.rate * self.impostor) / self.impostors
        return np.asarray(own - self.slope * false, np.float64)


def verification_outcomes(
    features: ArrayLike,
    labels: ArrayLike,
    own: ArrayLike,
    metrics: Sequence[Metric],
    fars: Sequence[float],
    *,
    cohort: ArrayLike | None = None,
) -> list[PersonOutcomes]:
    """Return the outcomes by person of each of ``metrics``, TAR at ``fars`` in the same order, that has a threshold.

    The other arguments are those of :func:`~fedfr.evaluation.personalized_verification`, which returned ``metrics``.
    """
    given = _with_threshold(metrics, fars)
    if not given:
        return []
    pairs = OwnPairs(features, labels, own, cohort=cohort)
    people, genuine, impostor = pairs.pairs_by_label()
    ranks = [_ranks(rate, pairs.impostor) for _, rate in given]
    points = operating_points(pairs.blocks, [rank for both in ranks for rank in both])
    accepted = [point.accepted / pairs.genuine for point in points]
    first, second, scores = _joined(pairs.above(min(threshold for threshold, _ in given)))
    first, second = np.searchsorted(people, first), np.searchsorted(people, second)
    found = []
    for place, (threshold, rate) in enumerate(given):
        above = scores > np.float32(threshold)
        right, wrong = above & (first == second), above & (first != second)
        found.append(
            PersonOutcomes(
                people,
                np.bincount(first[right], minlength=len(people)),
                genuine,
                np.bincount(np.concatenate([first[wrong], second[wrong]]), minlength=len(people)),
                impostor,
                pairs.impostor,
                rate,
                _slope(accepted[2 * place], accepted[2 * place + 1], ranks[place], pairs.impostor),
            )
        )
    return found


def pair_outcomes(
    features_a: ArrayLike,
    features_b: ArrayLike,
    people_a: ArrayLike,
    people_b: ArrayLike,
    metrics: Sequence[Metric],
    fars: Sequence[float],
) -> list[PersonOutcomes]:
    """Return the outcomes by person of each of ``metrics``, TAR at ``fars`` in the same order, that has a threshold.

    ``features_a`` and ``features_b`` (P, D) are the pairs that :func:`~fedfr.evaluation.verify_pairs` returned
    ``metrics`` for, ``people_a`` and ``people_b`` (P,) the labels of their people.
    """
    given = _with_threshold(metrics, fars)
    if not given:
        return []
    left = normalize(as_features(features_a, "features_a"), "features_a")
    right = normalize(as_features(features_b, "features_b"), "features_b")
    scores = np.einsum("pd,pd->p", left, right)
    labels = np.stack([as_labels(people_a, len(scores)), as_labels(people_b, len(scores))])
    people, which = np.unique(labels, return_inverse=True)
    first, second = which.reshape(2, -1)
    same = first == second

    def by_person(chosen: NDArray[np.bool_]) -> tuple[Counts, Counts]:
        wrong = chosen & ~same
        both = np.concatenate([first[wrong], second[wrong]])
        return np.bincount(first[chosen & same], minlength=len(people)), np.bincount(both, minlength=len(people))

    every = by_person(np.ones(len(same), np.bool_))
    false_scores = np.sort(scores[~same])[::-1]
    found = []
    for threshold, rate in given:
        accepted, ranks = by_person(scores > threshold), _ranks(rate, len(false_scores))
        low, high = (float((scores[same] > false_scores[rank]).mean()) for rank in ranks)
        slope = _slope(low, high, ranks, len(false_scores))
        counts = accepted[0], every[0], accepted[1], every[1]
        found.append(PersonOutcomes(people, *counts, len(false_scores), rate, slope))
    return found


def identification_outcomes(
    templates: ArrayLike,
    probes: ArrayLike,
    rows: ArrayLike,
    labels: ArrayLike,
    metrics: Sequence[Metric],
    fpirs: Sequence[float],
    *,
    cohort: ArrayLike | None = None,
) -> list[PersonOutcomes]:
    """Return the outcomes by person of each of ``metrics``, TPIR at ``fpirs`` in the same order, that has a threshold.

    ``labels`` (P,) are the probes' identities; the other arguments are those of
    :func:`~fedfr.evaluation.open_set_identification`, with ``rows`` (P,) the probes' gallery rows.
    """
    given = _with_threshold(metrics, fpirs)
    if not given:
        return []
    own, best_other, mated = best_scores(templates, probes, rows, cohort)
    people, which = np.unique(as_labels(labels, len(own)), return_inverse=True)

    def by_person(chosen: NDArray[np.bool_]) -> Counts:
        return np.bincount(which[chosen], minlength=len(people))

    found_scores, false_scores = own[mated & (own > best_other)], np.sort(best_other[~mated])[::-1]
    found = []
    for threshold, rate in given:
        ranks = _ranks(rate, len(false_scores))
        low, high = (float((found_scores > false_scores[rank]).sum() / mated.sum()) for rank in ranks)
        found.append(
            PersonOutcomes(
                people,
                by_person(mated & (own > best_other) & (own > threshold)),
                by_person(mated),
                by_person(~mated & (best_other > threshold)),
                by_person(~mated),
                len(false_scores),
                rate,
                _slope(low, high, ranks, len(false_scores)),
            )
        )
    return found


def _with_threshold(metrics: Sequence[Metric], rates: Sequence[float]) -> list[tuple[float, float]]:
    pairs = zip(metrics, as_rates(rates, "rates"), strict=True)
    return [(metric.threshold, rate) for metric, rate in pairs if metric.threshold is not None]


def _ranks(rate: float, impostors: int) -> tuple[int, int]:
    """Return the ranks from the top of the thresholds at a lower and a higher error rate."""
    rank = exact_product(rate, impostors)
    return math.floor(rank / _SPREAD), min(math.floor(rank * _SPREAD), impostors - 1)


def _slope(low: float, high: float, ranks: tuple[int, int], impostors: int) -> float:
    return (high - low) * impostors / (ranks[1] - ranks[0]) if ranks[1] > ranks[0] else 0.0


def _joined(parts: Iterable[tuple[Counts, Counts, NDArray[np.float32]]]) -> tuple[Counts, Counts, NDArray[np.float32]]:
    found = [*parts]
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    first, second, scores = zip(*found, strict=True)
    return np.concatenate(first), np.concatenate(second), np.concatenate(scores)
