"""Comparison of models: paired differences over deals, the seeds of a benchmark, with t intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

from fedfr.evaluation.protocols import SET_PROTOCOLS
from fedfr.results.intervals import FEWEST_DEALS, Estimate, estimate, holm
from fedfr.results.person_effects import Outcomes, differing, influences
from fedfr.results.result_rows import Row

__all__ = [
    "DISJOINT",
    "LEVEL",
    "MARGIN",
    "Comparison",
    "Deals",
    "Difference",
    "MetricGroup",
    "MetricSummary",
    "better_model",
    "between",
    "compare",
    "corrected",
    "covers",
    "meant_model",
    "metric_groups",
    "rate_of",
    "shared_metrics",
    "summaries",
]

MARGIN = 0.01
"""Largest margin of equivalence, one percentage point; see :func:`compare`."""
LEVEL = 0.05
SATURATED = 0.1
"""Metrics nearer than this to 0 or 1 have no interval where the outcomes by person are not known."""
_ROUNDING = 1e-9
Key = tuple[str, str]
_Values = Mapping[tuple[int, str], float]


@dataclass(frozen=True)
class Deals:
    """What the seeds of a benchmark have in common.

    ``people``: number of people whom clients train on in any seed; ``shared``: in more than one; ``shared_by_two``:
    most that any two seeds have in common; ``tested``: number of those who test the generic model of another seed.
    ``outcomes``: by protocol and metric, then model, then seed; empty where
    they were not kept.
    """

    people: int = 0
    shared: int = 0
    shared_by_two: int = 0
    tested: int = 0
    outcomes: Mapping[tuple[str, str], Mapping[Key, Mapping[int, Outcomes]]] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """A sentence about people who train in one seed and are tested in another; empty without any."""
        if not self.tested:
            return ""
        return f"{self.tested} of the people in training test the generic model of another seed than their own."


DISJOINT = Deals()


@dataclass(frozen=True)
class MetricGroup:
    """One metric of all models: by (method, model), then (seed, client), the values that were not refused."""

    protocol: str
    metric: str
    values: dict[Key, dict[tuple[int, str], float]]
    deals: Deals = DISJOINT

    @property
    def outcomes(self) -> Mapping[Key, Mapping[int, Outcomes]]:
        """By model, then seed, the outcomes by person; empty where they were not kept."""
        return self.deals.outcomes.get((self.protocol, self.metric), {})


@dataclass(frozen=True)
class MetricSummary:
    """A metric of one model: mean over seeds of the mean over clients, standard deviation over seeds, worst client.

    ``deviation`` is None for a single seed, ``worst`` for metrics without clients.
    """

    mean: float
    deviation: float | None
    worst: float | None
    seeds: int


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


def metric_groups(rows: Iterable[Row], deals: Deals = DISJOINT) -> list[MetricGroup]:
    """Group rows by protocol and metric, in order of first appearance, without refused values."""
    found: dict[tuple[str, str], MetricGroup] = {}
    for row in rows:
        group = found.setdefault((row.protocol, row.metric), MetricGroup(row.protocol, row.metric, {}, deals))
        if row.value is not None:
            group.values.setdefault((row.method, row.model), {})[row.seed, row.client] = row.value
    return list(found.values())


def shared_metrics(rows: Iterable[Row], protocol: str) -> list[str]:
    """Return the metrics at a rate, strictest first, for which no model lacks a value that its other metrics have.

    The released convention of 1:N is not included.
    """
    places: dict[Key, dict[str, set[tuple[int, str]]]] = {}
    for row in rows:
        if row.protocol == protocol and "=" in row.metric and "(" not in row.metric:
            given = places.setdefault((row.method, row.model), {}).setdefault(row.metric, set())
            if row.value is not None:
                given.add((row.seed, row.client))
    every = dict.fromkeys(metric for metrics in places.values() for metric in metrics)
    shared = [
        metric
        for metric in every
        if all(metrics.get(metric, set()) == set().union(*metrics.values()) for metrics in places.values())
        and any(metrics.get(metric) for metrics in places.values())
    ]
    return sorted(shared, key=rate_of)


def rate_of(metric: str) -> float:
    """Return the rate of a metric: 0.001 for ``TAR@FAR=1e-3``, 1 for a metric without a rate."""
    _, _, rate = metric.partition("=")
    return float(rate) if rate else 1.0


def summaries(group: MetricGroup) -> dict[Key, MetricSummary]:
    """Summarize the values of every model in a group."""
    found = {}
    for key, values in group.values.items():
        seeds: dict[int, list[float]] = {}
        for (seed, _), value in values.items():
            seeds.setdefault(seed, []).append(value)
        means = [fmean(each) for each in seeds.values()]
        concerned = any(client for _, client in values)
        found[key] = MetricSummary(
            fmean(means),
            stdev(means) if len(means) > 1 else None,
            min(values.values()) if concerned else None,
            len(means),
        )
    return found


def compare(group: MetricGroup, one: Key, other: Key) -> Difference | None:
    """Return the mean of ``one`` − ``other`` over the deals of which both have a value, None if there are none.

    The value of a deal is the mean over the clients of which both have a value, or over all clients of one model where
    the other has no clients. The interval is that of :func:`~fedfr.results.intervals.estimate`. There is none where
    deals train on the same people: how far such deals are replications of each other cannot be estimated from them. The
    margin of the difference is :data:`MARGIN`, or half of the distance of ``other`` from 0 or 1 where that is less, so
    that nothing equals a saturated reference.
    """
    left, right = _alike(group.values.get(one, {}), group.values.get(other, {}))
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
    values = {
        (name, ""): _over_clients(each.values.get(key, {})) for name, each in (("now", group), ("before", before))
    }
    own = Deals(group.deals.people, group.deals.shared or before.deals.shared)
    return compare(replace(group, values=values, deals=own), ("now", ""), ("before", ""))


def covers(group: MetricGroup, one: Key, other: Key) -> bool:
    """Whether ``one`` has a value for every deal and client of which ``other`` has one."""
    left, right = _alike(group.values.get(one, {}), group.values.get(other, {}))
    return left.keys() >= right.keys()


def _alike(left: _Values, right: _Values) -> tuple[_Values, _Values]:
    """Return both as they are, or averaged over clients where only one of the two is of clients."""
    of_clients = [any(client for _, client in values) for values in (left, right)]
    return (left, right) if all(of_clients) else (_over_clients(left), _over_clients(right))


def _over_clients(values: _Values) -> dict[tuple[int, str], float]:
    """Return the mean over the clients of each seed, without a client's name."""
    seeds: dict[int, list[float]] = {}
    for (seed, _), value in values.items():
        seeds.setdefault(seed, []).append(value)
    return {(seed, ""): fmean(clients) for seed, clients in seeds.items()}


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


def better_model(group: MetricGroup, method: str) -> Key | None:
    """Return the method's model with the highest mean over all deals; None without a value.

    A method that is compared with others is given this choice after the fact, which favours it.
    """
    means = {key: summary.mean for key, summary in summaries(group).items() if key[0] == method}
    return max(means, key=lambda key: means[key], default=None)


def meant_model(group: MetricGroup, method: str) -> Key | None:
    """Return the method's personalized model where it has one, else its first; None without a value.

    This is the model that is meant for the people of the group's protocol.
    """
    personal = (method, "personalized")
    own = (key for key in group.values if key[0] == method)
    return personal if personal in group.values else next(own, None)


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
