"""Metrics of all models by protocol, with the deals that they are from, and their means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean, stdev

from fedfr.results.person_effects import Outcomes
from fedfr.results.result_rows import Row

__all__ = [
    "DISJOINT",
    "Deals",
    "Key",
    "MetricGroup",
    "MetricSummary",
    "alike",
    "better_model",
    "covers",
    "meant_model",
    "metric_groups",
    "over_clients",
    "rate_of",
    "shared_metrics",
    "summaries",
]

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


def covers(group: MetricGroup, one: Key, other: Key) -> bool:
    """Whether ``one`` has a value for every deal and client of which ``other`` has one."""
    left, right = alike(group.values.get(one, {}), group.values.get(other, {}))
    return left.keys() >= right.keys()


def alike(left: _Values, right: _Values) -> tuple[_Values, _Values]:
    """Return both as they are, or averaged over clients where only one of the two is of clients."""
    of_clients = [any(client for _, client in values) for values in (left, right)]
    return (left, right) if all(of_clients) else (over_clients(left), over_clients(right))


def over_clients(values: _Values) -> dict[tuple[int, str], float]:
    """Return the mean over the clients of each seed, without a client's name."""
    seeds: dict[int, list[float]] = {}
    for (seed, _), value in values.items():
        seeds.setdefault(seed, []).append(value)
    return {(seed, ""): fmean(clients) for seed, clients in seeds.items()}


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
