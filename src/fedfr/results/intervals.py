"""Confidence intervals of a mean over deals, family-wise correction and equivalence.

A *deal* is one draw of people to clients with a training run of its own; the seeds of a benchmark are deals. Deals that
share no person are independent replications, so the mean over deals has a t interval with (deals − 1) degrees of
freedom, whatever its deals vary by: people, training, order of images. Where deals are tested on the same people, their
values are also correlated through those people; the correlation is estimated from the influence of every person
(:mod:`fedfr.evaluation.person_outcomes`) and added.

There is no interval where the deals cannot show how much the mean varies: from fewer than :data:`FEWEST_DEALS`; where
all deals agree; and near saturation, where a few people make all the difference and a deal without such a person looks
as if there were none. The variance over deals is then too small whenever the mean is wrong (82 to 93 % coverage at
nominal 95 %, 29 to 42 % at errors of 0.1 %), so that fewer than :data:`FEWEST_PEOPLE` people whose outcomes differ
have no interval, and the squared standard error is at least that of drawing other people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean, variance

from scipy.special import stdtr, stdtrit

__all__ = ["FEWEST_DEALS", "FEWEST_PEOPLE", "Estimate", "Influence", "estimate", "holm"]

FEWEST_DEALS = 3
FEWEST_PEOPLE = 10
"""Fewest people with different outcomes in the compared models that a difference with an interval rests on."""
# Differences below this are rounding of float64 arithmetic.
_ROUNDING = 1e-12

Influence = Mapping[int, float]


@dataclass(frozen=True)
class Estimate:
    """Mean over deals with its standard error and degrees of freedom; both are 0 where there is no interval."""

    mean: float
    error: float
    freedom: float
    deals: int

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval."""
        return self.freedom > 0

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Return the ends of the interval, None where there is none."""
        if not self.has_interval:
            return None
        reach = float(stdtrit(self.freedom, (1 + confidence) / 2)) * self.error
        return self.mean - reach, self.mean + reach

    @property
    def p_value(self) -> float | None:
        """Two-sided p-value of the hypothesis that the mean is 0; None where there is no interval."""
        if not self.has_interval:
            return None
        return float(2 * stdtr(self.freedom, -abs(self.mean) / self.error))

    def above(self, bound: float) -> float | None:
        """One-sided p-value of the hypothesis that the mean is at most ``bound``; None where there is no interval."""
        if not self.has_interval:
            return None
        return float(stdtr(self.freedom, (bound - self.mean) / self.error))

    def equivalence_p(self, margin: float) -> float | None:
        """p-value of a mean outside ± ``margin``: the larger of two one-sided ones. None where there is no interval."""
        ends = self.above(-margin), replace(self, mean=-self.mean).above(-margin)
        return None if ends[0] is None or ends[1] is None else max(ends[0], ends[1])

    def equivalent(self, margin: float, level: float = 0.05) -> bool:
        """Whether the mean lies within ± ``margin`` by two one-sided tests at ``level`` (Schuirmann 1987)."""
        ends = self.interval(1 - 2 * level)
        return ends is not None and -margin < ends[0] and ends[1] < margin


def estimate(deals: Sequence[float], people: Sequence[Influence] = (), differing: int | None = None) -> Estimate:
    """Return the mean over deals and its standard error.

    ``deals`` are values of deals that train on different people. ``people`` gives, for each deal, the influence of
    every test person on its value; needed where deals share test people. ``differing`` is the number of people whose
    outcomes differ between the compared models, None where it is not counted. With values v_i, their variance s² and
    the covariance c_ij = Σ_p I_i(p) · I_j(p) of two deals through shared people, the squared standard error is
    s² / n + mean of c_ij over pairs (not below 0), because s² is free of what all deals share; at least the mean of
    c_ii / n, which other people alone would cause. Degrees of freedom by Satterthwaite (1946). No interval with fewer
    than :data:`FEWEST_DEALS`, for s² = 0, or with fewer than :data:`FEWEST_PEOPLE` people.
    """
    count, mean = len(deals), fmean(deals)
    between = variance(deals) / count if count >= FEWEST_DEALS else 0.0
    if between <= _ROUNDING**2 or (differing is not None and differing < FEWEST_PEOPLE):
        return Estimate(mean, 0.0, 0.0, count)
    shared, within, persons = 0.0, 0.0, 0
    if people:
        pairs = [_product(one, other) for one, other in combinations(people, 2)]
        shared = max(0.0, fmean(total for total, _ in pairs))
        persons = min(number for _, number in pairs)
        within = fmean(_product(each, each)[0] for each in people) / count
    total = between + shared
    terms = between**2 / (count - 1) + (shared**2 / (persons - 1) if persons > 1 else 0.0)
    return Estimate(mean, max(total, within) ** 0.5, total**2 / terms, count)


def _product(one: Influence, other: Influence) -> tuple[float, int]:
    """Return Σ I(p) · J(p) over the people of both, corrected for the estimated mean, and their number."""
    both = one.keys() & other.keys()
    if len(both) < 2:
        return 0.0, len(both)
    return sum(one[person] * other[person] for person in both) * len(both) / (len(both) - 1), len(both)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for the size of their family (Holm 1979), in the same order.

    >>> from fedfr.results.intervals import holm
    >>> holm([0.04, 0.01, 0.03])
    [0.06, 0.03, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
