"""Gain of a federation over the best that a client has without one, at every point of a scenario."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fedfr.results.comparison import LEVEL, Comparison, Difference, between, compare, corrected
from fedfr.results.costs import RoundCost, total
from fedfr.results.metric_groups import (
    DISJOINT,
    Deals,
    Key,
    MetricGroup,
    covers,
    metric_groups,
    rate_of,
    shared_metrics,
    summaries,
)
from fedfr.results.result_rows import Row

__all__ = ["ALONE", "FEDERATED", "ClientCost", "Gain", "Point", "gains"]

FEDERATED = "fedfr"
STARTS = ("published", "pretrained")
ALONE = ("local-fedfr", "frozen-head", "local")
"""Methods in which a client trains alone; the starts need no training at all."""

_ALTERNATIVES = (*STARTS, *ALONE)
_PROTOCOLS: Mapping[str, str] = {"generic": "generic-1:1", "personalized": "personalized-1:1"}
"""By model of the federation: the protocol it is judged by."""
# The rate of the paper; the strictest available one where there are too few pairs.
_PREFERRED = "TAR@FAR=1e-4"


@dataclass(frozen=True)
class Point:
    """Results of one point of a scenario; ``label`` is its value on the axis, ``at`` the same as a number if it is one.

    ``costs`` are those of any rounds of the methods. Points of different ``group`` are no steps of one axis.
    """

    label: str
    at: float | None
    rows: Sequence[Row]
    deals: Deals = DISJOINT
    costs: Sequence[RoundCost] = ()
    group: str = ""


@dataclass(frozen=True)
class ClientCost:
    """Cost of a method for one client, mean over clients and seeds: bytes up and down, seconds if they are known."""

    bytes_up: float = 0.0
    bytes_down: float = 0.0
    seconds: float | None = 0.0


@dataclass(frozen=True)
class Gain:
    """A federated model compared with the best model without a federation, at one point.

    ``alternative`` is the one with the highest mean at this point, which favours it. ``rise`` is the difference of the
    federated model from the point before, paired by deal; None at the first point. ``p_value`` and ``rise_p`` are
    corrected for the number of gains and rises of the model (Holm), None where there is no interval. ``cost`` and
    ``alternative_cost`` are for one client.
    """

    point: Point
    model: str
    protocol: str
    metric: str
    federated: float
    alternative: Key
    alone: float
    difference: Difference
    p_value: float | None = None
    cost: ClientCost = field(default_factory=ClientCost)
    alternative_cost: ClientCost = field(default_factory=ClientCost)
    rise: Difference | None = None
    rise_p: float | None = None

    @property
    def settled(self) -> bool:
        """Whether the gain is not 0 at the level of 5 %, corrected."""
        return self.p_value is not None and self.p_value < LEVEL

    @property
    def rise_settled(self) -> bool:
        """Whether the rise from the point before is not 0 at the level of 5 %, corrected."""
        return self.rise_p is not None and self.rise_p < LEVEL


def gains(points: Sequence[Point]) -> list[Gain]:
    """Return the gain of the generic and of the personalized model at every point.

    Empty unless FedFR and its counterpart without a federation, ``local-fedfr``, are among the methods: a gain over
    weaker alternatives would not be one of the federation. All points have the same metric.
    """
    methods = {row.method for point in points for row in point.rows}
    if not {FEDERATED, ALONE[0]} <= methods:
        return []
    return [gain for model in _PROTOCOLS for gain in _of_model(points, model)]


def _of_model(points: Sequence[Point], model: str) -> list[Gain]:
    compared = [_compared(point, model) for point in points]
    metric = _metric(compared, _PROTOCOLS[model])
    if metric is None:
        return []
    found = [gain for point, rows in zip(points, compared, strict=True) if (gain := _at(point, model, rows, metric))]
    found = [replace(gain, rise=_rise(gain, before)) for gain, before in zip(found, [None, *found], strict=False)]
    family = iter(corrected([each for gain in found for each in (gain.difference, gain.rise)]))
    tested = [(gain, next(family), next(family)) for gain in found]
    return [replace(gain, p_value=_p_value(own), rise_p=_p_value(rise)) for gain, own, rise in tested]


def _rise(gain: Gain, before: Gain | None) -> Difference | None:
    """Return the rise from the point before; None between points of different groups, which are no steps of an axis."""
    if before is None or gain.point.group != before.point.group:
        return None
    key = (FEDERATED, gain.model)
    now, earlier = (
        next(group for group in metric_groups(each.point.rows, each.point.deals) if _is_of(group, each))
        for each in (gain, before)
    )
    return between(now, earlier, key)


def _is_of(group: MetricGroup, gain: Gain) -> bool:
    return (group.protocol, group.metric) == (gain.protocol, gain.metric)


def _p_value(found: Comparison | None) -> float | None:
    return None if found is None else found.p_value


def _compared(point: Point, model: str) -> list[Row]:
    """Return the rows of the federated model and of all alternatives."""
    return [
        row
        for row in point.rows
        if row.protocol == _PROTOCOLS[model]
        and ((row.method, row.model) == (FEDERATED, model) or row.method in _ALTERNATIVES)
    ]


def _metric(compared: Sequence[Sequence[Row]], protocol: str) -> str | None:
    """Return the paper's metric if all models of all points have it, else the strictest that they have."""
    each = [shared_metrics(rows, protocol) for rows in compared]
    shared = set(each[0]).intersection(*each[1:]) if each else set()
    return _PREFERRED if _PREFERRED in shared else min(shared, key=rate_of, default=None)


def _at(point: Point, model: str, rows: Sequence[Row], metric: str) -> Gain | None:
    groups = [group for group in metric_groups(rows, point.deals) if group.metric == metric]
    key = (FEDERATED, model)
    if not groups or key not in groups[0].values:
        return None
    (group,) = groups
    best = _best(group, key)
    difference = None if best is None else compare(group, key, best)
    if best is None or difference is None:
        return None
    mean = summaries(group)
    cost, other = (_client_cost(point, method) for method in (FEDERATED, best[0]))
    return Gain(
        point, model, group.protocol, metric, mean[key].mean, best, mean[best].mean, difference, None, cost, other
    )


def _best(group: MetricGroup, key: Key) -> Key | None:
    """Return the alternative with the highest mean; only those with a value wherever the federated model has one."""
    mean = summaries(group)
    others = [other for other in group.values if other != key and covers(group, other, key)]
    return max(others, key=lambda other: mean[other].mean, default=None)


def _client_cost(point: Point, method: str) -> ClientCost:
    clients = {row.client for row in point.rows if row.client}
    own = [cost for cost in point.costs if cost.method == method and cost.round]
    seeds = {cost.seed for cost in own}
    if not own or not clients:
        return ClientCost()
    every, count = total(own), len(seeds) * len(clients)
    seconds = None if every.charged_seconds is None else every.charged_seconds / count
    return ClientCost(every.bytes_up / count, every.bytes_down / count, seconds)
