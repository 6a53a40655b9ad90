"""Comparison of models: paired differences over deals, the seeds of a benchmark, with t intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from fedfr.evaluation.protocols import SET_PROTOCOLS
from fedfr.results.intervals import FEWEST_DEALS, Estimate, estimate, holm
from fedfr.results.metric_groups import Deals, Key, MetricGroup, alike, over_clients
from fedfr.results.person_effects import Outcomes, differing, influences

__all__ = [
    "LEVEL",
    "MARGIN",
    "Comparison",
    "Difference",
    "between",
    "compare",
    "corrected",
]

MARGIN = 0.01
"""Largest margin of equivalence, one percentage point; see :func:`compare`."""
LEVEL = 0.05
SATURATED = 0.1
"""Metrics nearer than this to 0 or 1 have no interval where the outcomes by person are not known."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Difference:
    """Mean difference of two models over deals, the ends of its 95 % interval, and the p-value of no difference.

    ``low``, ``high``, ``p_value`` and ``estimate``, which they are computed from, are None where there is no interval;
    ``few``: because it rests on too few people, although there are enough deals. ``margin``: see :func:`compare`.
    """

    mean: float
    low: float | None
    high: float | None
    deals: int
    p_value: float | None = None
    estimate: Estimate | None = None
    margin: float = MARGIN
    few: bool = False

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero by more than rounding."""
        return self.low is not None and self.high is not None and (self.low > _ROUNDING or self.high < -_ROUNDING)


@dataclass(frozen=True)
class Comparison:
    """A difference with its p-values, each corrected for the number of comparisons in its family (Holm).

    They are None where there is no interval.
    """

    difference: Difference
    p_value: float | None = None
    not_behind_p: float | None = None
    equal_p: float | None = None
    larger_p: float | None = None

    @property
    def differs(self) -> bool:
        """Whether the difference is not 0."""
        return _settled(self.p_value)

    @property
    def not_behind(self) -> bool:
        """Whether the first model is not behind the other by the margin or more."""
        return _settled(self.not_behind_p, LEVEL / 2)

    @property
    def equal(self) -> bool:
        """Whether the difference is smaller than the margin, by two one-sided tests."""
        return _settled(self.equal_p)

    @property
    def equality(self) -> str:
        """The words for equal models with their margin; empty where they are not known to be equal."""
        size = f"{100 * self.difference.margin:.2g}"
        return f"equal within {size} point{'' if size == '1' else 's'}" if self.equal else ""

    @property
    def larger(self) -> bool:
        """Whether the difference, on the side of its mean, is larger than the margin."""
        return _settled(self.larger_p, LEVEL / 2)


def _settled(p_value: float | None, level: float = LEVEL) -> bool:
    """Whether a p-value is below the level; one-sided tests have half of it, as each end of a 95 % interval has."""
    return p_value is not None and p_value < level


def compare(group: MetricGroup, one: Key, other: Key) -> Difference | None:
    """Return the mean of ``one`` − ``other`` over the deals of which both have a value, None if there are none.

    The value of a deal is the mean over the clients of which both have a value, or over all clients of one model where
    the other has no clients. The interval is that of :func:`~fedfr.results.intervals.estimate`. There is none where
    deals train on the same people: how far such deals are replications of each other cannot be estimated from them. The
    margin of the difference is :data:`MARGIN`, or half of the distance of ``other`` from 0 or 1 where that is less, so
    that nothing equals a saturated reference.
    """
    left, right = alike(group.values.get(one, {}), group.values.get(other, {}))
    seeds: dict[int, list[tuple[float, float]]] = {}
    for number, client in sorted(left.keys() & right.keys()):
        seeds.setdefault(number, []).append((left[number, client], right[number, client]))
    if not seeds:
        return None
    means = [(fmean(ours), fmean(theirs)) for ours, theirs in (zip(*each, strict=True) for each in seeds.values())]
    levels = fmean(ours for ours, _ in means), fmean(theirs for _, theirs in means)
    both = _outcomes(group, one, other, list(seeds))
    values = [ours - theirs for ours, theirs in means]
    found = estimate(values, influences(both), _differing(group.protocol, both, levels))
    margin = min(MARGIN, max(0.0, min(levels[1], 1 - levels[1])) / 2)
    ends = None if group.deals.shared else found.interval()
    if ends is None:
        few = not group.deals.shared and len(seeds) >= FEWEST_DEALS
        return Difference(found.mean, None, None, found.deals, margin=margin, few=few)
    return Difference(found.mean, *ends, found.deals, found.p_value, found, margin)


def between(group: MetricGroup, before: MetricGroup, key: Key) -> Difference | None:
    """Return the difference of one model between two groups, the first minus the second, paired by deal.

    The clients of the groups may differ; the value of a deal is the mean over its own. People who are tested in both
    groups are not known to be the same, so that outcomes by person are not used.
    """
    values = {(name, ""): over_clients(each.values.get(key, {})) for name, each in (("now", group), ("before", before))}
    own = Deals(group.deals.people, group.deals.shared or before.deals.shared)
    return compare(replace(group, values=values, deals=own), ("now", ""), ("before", ""))


def corrected(found: Sequence[Difference | None], count: int = 0) -> list[Comparison | None]:
    """Return the differences of a family with their corrected p-values, in order; None for None.

    The family has ``count`` members, at least the differences that have an interval.
    """
    kinds: dict[str, Callable[[Estimate, float], float | None]] = {
        "p_value": lambda each, _: each.p_value,
        "not_behind_p": lambda each, margin: each.above(-margin),
        "equal_p": lambda each, margin: each.equivalence_p(margin),
        "larger_p": lambda each, margin: replace(each, mean=abs(each.mean)).above(margin),
    }
    tested = [(each.estimate, each.margin) for each in found if each is not None and each.estimate is not None]
    others = [1.0] * (count - len(tested))
    p_values = {
        kind: iter(holm([*(p for each in tested if (p := p_value(*each)) is not None), *others]))
        for kind, p_value in kinds.items()
    }
    return [
        None
        if each is None
        else Comparison(each, **({} if each.estimate is None else {kind: next(p_values[kind]) for kind in kinds}))
        for each in found
    ]


def _outcomes(group: MetricGroup, one: Key, other: Key, seeds: Sequence[int]) -> list[tuple[Outcomes, Outcomes]]:
    """Return the outcomes by person of both models in each deal; empty if they were not kept."""
    ours, theirs = (group.outcomes.get(key, {}) for key in (one, other))
    kept = all(seed in ours and seed in theirs for seed in seeds)
    return [(ours[seed], theirs[seed]) for seed in seeds] if kept else []


def _differing(protocol: str, both: Sequence[tuple[Outcomes, Outcomes]], levels: Iterable[float]) -> int | None:
    """Return the number of people whose outcomes differ; without outcomes 0 near saturation, else None.

    The pairs of a verification set are the same in all deals, which differ by their training alone.
    """
    if both:
        return differing(both)
    if protocol.startswith(SET_PROTOCOLS) or all(SATURATED <= level <= 1 - SATURATED for level in levels):
        return None
    return 0
