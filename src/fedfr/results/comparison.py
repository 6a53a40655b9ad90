"""Comparison of models: paired differences over deals, the seeds of a benchmark, with t intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from fedfr.results.intervals import Estimate, Influence, estimate
from fedfr.results.result_rows import Row

__all__ = [
    "DISJOINT",
    "Deals",
    "Difference",
    "MetricGroup",
    "MetricSummary",
    "compare",
    "metric_groups",
    "rate_of",
    "shared_metrics",
    "summaries",
]

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


def _influences(group: MetricGroup, one: Key, other: Key, seeds: Sequence[int]) -> list[dict[int, float]]:
    """Return every test person's influence on the difference in each deal; empty if they were not kept."""
    ours, theirs = ({} if each is None else each for each in (group.influences.get(key) for key in (one, other)))
    if not all(seed in ours and seed in theirs for seed in seeds):
        return []
    return [
        {person: ours[seed].get(person, 0.0) - theirs[seed].get(person, 0.0) for person in {*ours[seed], *theirs[seed]}}
        for seed in seeds
    ]
