"""Comparison of models: paired differences over seeds and clients with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from fedfr.results.result_rows import Row

__all__ = [
    "Difference",
    "MetricGroup",
    "MetricSummary",
    "compare",
    "metric_groups",
    "rate_of",
    "shared_metrics",
    "summaries",
]

# Resamples of an interval: its ends then vary by about a hundredth of its width between draws.
DRAWS = 10_000
_ROUNDING = 1e-9
Key = tuple[str, str]


@dataclass(frozen=True)
class MetricGroup:
    """One metric of all models: by (method, model), then (seed, client), the values that were not refused."""

    protocol: str
    metric: str
    values: dict[Key, dict[tuple[int, str], float]]


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
    """Mean paired difference of two models with the ends of its interval; a single pair has no interval."""

    mean: float
    low: float | None
    high: float | None
    pairs: int

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero by more than rounding."""
        return self.low is not None and self.high is not None and (self.low > _ROUNDING or self.high < -_ROUNDING)


def metric_groups(rows: Iterable[Row]) -> list[MetricGroup]:
    """Group rows by protocol and metric, in order of first appearance, without refused values."""
    found: dict[tuple[str, str], MetricGroup] = {}
    for row in rows:
        group = found.setdefault((row.protocol, row.metric), MetricGroup(row.protocol, row.metric, {}))
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


def compare(group: MetricGroup, one: Key, other: Key, *, confidence: float = 0.95, seed: int = 0) -> Difference | None:
    """Return the mean of ``one`` − ``other`` over seeds and clients of which both have a value, None if there are none.

    The interval is a percentile bootstrap (Efron 1979) in two steps, because clients of one seed share a split and a
    starting model: seeds are drawn with replacement, then clients within each drawn seed. With one seed only its
    clients are drawn, and the interval does not cover other seeds.
    """
    left, right = group.values.get(one, {}), group.values.get(other, {})
    seeds: dict[int, list[float]] = {}
    for number, client in sorted(left.keys() & right.keys()):
        seeds.setdefault(number, []).append(left[number, client] - right[number, client])
    pairs = sum(map(len, seeds.values()))
    if not pairs:
        return None
    mean = fmean(fmean(each) for each in seeds.values())
    if pairs == 1:
        return Difference(mean, None, None, pairs)
    means = _resampled(list(seeds.values()), np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Difference(mean, float(low), float(high), pairs)


def _resampled(seeds: Sequence[Sequence[float]], generator: np.random.Generator) -> NDArray[np.float64]:
    """Return ``DRAWS`` means of resampled seeds and clients."""
    within = []
    for differences in seeds:
        values = np.asarray(differences)
        # Independent draws of this seed's clients for every position at which the seed may be drawn.
        chosen = generator.integers(0, len(values), (len(seeds), DRAWS, len(values)))
        within.append(values[chosen].mean(axis=2))
    table = np.stack(within)
    drawn = generator.integers(0, len(seeds), (len(seeds), DRAWS))
    places, draws = np.arange(len(seeds))[:, None], np.arange(DRAWS)[None, :]
    means: NDArray[np.float64] = table[drawn, places, draws].mean(axis=0)
    return means
