"""Comparison of models: paired differences over deals, the seeds of a benchmark, with t intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from fedfr.results.intervals import Estimate, Influence, estimate, holm
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
    "compare",
    "compare_all",
    "corrected",
    "metric_groups",
    "rate_of",
    "shared_metrics",
    "summaries",
]

MARGIN = 0.01
"""Margin of equivalence: differences below one percentage point are called equal."""
LEVEL = 0.05
_ROUNDING = 1e-9
Key = tuple[str, str]


@dataclass(frozen=True)
class Deals:
    """What the seeds of a benchmark have in common.

    ``people``: number of people whom clients train on in any seed; ``shared``: in more than one; ``shared_by_two``:
    most that any two seeds have in common. ``influences``: by protocol and metric, then model, then seed, the influence
    of every test person; may be left out where seeds share no test person either.
    """

    people: int = 0
    shared: int = 0
    shared_by_two: int = 0
    influences: Mapping[tuple[str, str], Mapping[Key, Mapping[int, Influence]]] = field(default_factory=dict)


DISJOINT = Deals()


@dataclass(frozen=True)
class MetricGroup:
    """One metric of all models: by (method, model), then (seed, client), the values that were not refused."""

    protocol: str
    metric: str
    values: dict[Key, dict[tuple[int, str], float]]
    deals: Deals = DISJOINT

    @property
    def influences(self) -> Mapping[Key, Mapping[int, Influence]]:
        """By model, then seed, the influence of every test person on the mean over clients; empty where not kept."""
        return self.deals.influences.get((self.protocol, self.metric), {})


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

    ``low``, ``high``, ``p_value`` and ``estimate``, which they are computed from, are None where there is no interval.
    """

    mean: float
    low: float | None
    high: float | None
    deals: int
    p_value: float | None = None
    estimate: Estimate | None = None

    def equivalent(self, margin: float) -> bool:
        """Whether the difference lies within ± ``margin``, by two one-sided tests at 5 %."""
        return self.estimate is not None and self.estimate.equivalent(margin)

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

    @property
    def differs(self) -> bool:
        """Whether the difference is not 0."""
        return _settled(self.p_value)

    @property
    def not_behind(self) -> bool:
        """Whether the first model is not behind the other by :data:`MARGIN` or more."""
        return _settled(self.not_behind_p)

    @property
    def equal(self) -> bool:
        """Whether the difference is smaller than :data:`MARGIN`, by two one-sided tests."""
        return _settled(self.equal_p)


def _settled(p_value: float | None) -> bool:
    return p_value is not None and p_value < LEVEL


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

    The value of a deal is the mean over the clients of which both have a value; the interval is that of
    :func:`~fedfr.results.intervals.estimate`. There is none where deals train on the same people: how far such deals
    are replications of each other cannot be estimated from them.
    """
    left, right = group.values.get(one, {}), group.values.get(other, {})
    seeds: dict[int, list[float]] = {}
    for number, client in sorted(left.keys() & right.keys()):
        seeds.setdefault(number, []).append(left[number, client] - right[number, client])
    if not seeds:
        return None
    means = [fmean(each) for each in seeds.values()]
    found = estimate(means, _influences(group, one, other, list(seeds)))
    ends = None if group.deals.shared else found.interval()
    if ends is None:
        return Difference(found.mean, None, None, found.deals)
    return Difference(found.mean, *ends, found.deals, found.p_value, found)


def compare_all(pairs: Sequence[tuple[MetricGroup, Key, Key]]) -> list[Comparison | None]:
    """Return the comparisons of a family, in order; None for a pair without deals in common."""
    return corrected([compare(*pair) for pair in pairs])


def corrected(found: Sequence[Difference | None]) -> list[Comparison | None]:
    """Return the differences of a family with their corrected p-values, in order; None for None."""
    kinds: dict[str, Callable[[Estimate], float | None]] = {
        "p_value": lambda each: each.p_value,
        "not_behind_p": lambda each: each.above(-MARGIN),
        "equal_p": lambda each: each.equivalence_p(MARGIN),
    }
    estimates = [None if each is None else each.estimate for each in found]
    p_values = {
        kind: iter(holm([p for each in estimates if each is not None and (p := p_value(each)) is not None]))
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


def _influences(group: MetricGroup, one: Key, other: Key, seeds: Sequence[int]) -> list[dict[int, float]]:
    """Return every test person's influence on the difference in each deal; empty if they were not kept."""
    ours, theirs = ({} if each is None else each for each in (group.influences.get(key) for key in (one, other)))
    if not all(seed in ours and seed in theirs for seed in seeds):
        return []
    return [
        {person: ours[seed].get(person, 0.0) - theirs[seed].get(person, 0.0) for person in {*ours[seed], *theirs[seed]}}
        for seed in seeds
    ]
