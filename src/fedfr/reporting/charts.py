"""Figures of a report, each with its data as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from fedfr.evaluation import RATES
from fedfr.reporting.chart import Axis, Cells, Chart, Dash, Key, Line, line_of
from fedfr.reporting.histograms import by_model, scores_chart
from fedfr.reporting.palette import colour, marker
from fedfr.reporting.table import column_title
from fedfr.results.costs import DealCosts, RoundCost, deal_costs
from fedfr.results.curve_records import Curve
from fedfr.results.metric_groups import DISJOINT, Deals, shared_metrics
from fedfr.results.primary_family import Primary
from fedfr.results.result_rows import Row

__all__ = ["Section", "charts", "main_method", "shown_methods"]

PERSONAL_VERIFICATION, GENERIC_VERIFICATION = "personalized-1:1", "generic-1:1"
START = "pretrained"
OWN_OR_SHARED: tuple[tuple[str, Dash], ...] = (("a client's own model", "solid"), ("one model for all", "dotted"))
# The most names that fit on a page one below the other; more clients are numbered.
MOST_NAMES = 40
# Methods visible initially where there are many; the others can be switched on.
_SHOWN = ("pretrained", "local", "fedavg", "centralized")
_FEW = 7


@dataclass(frozen=True)
class Section:
    """Methods compared under the same settings: results, score distributions and costs.

    ``history`` holds results of earlier rounds with the round after which they were evaluated. ``name``, ``at`` (its
    position on the axis) and ``group`` (its line) place the section in a scenario. ``deals``: what its seeds share;
    ``machines``: those that computed it, where recorded. ``title``: its heading, by default the name. ``primary``: the
    comparisons that its benchmark declared.
    """

    rows: Sequence[Row]
    curves: Sequence[Curve]
    history: Sequence[tuple[int, Row]]
    costs: Sequence[RoundCost]
    name: str = ""
    at: float | None = None
    group: str = ""
    deals: Deals = DISJOINT
    title: str = ""
    machines: Sequence[str] = ()
    primary: Primary | None = None

    @property
    def deal_costs(self) -> DealCosts:
        """The mean cost of each method in one deal."""
        return deal_costs(self.costs, self.machines)

    @property
    def heading(self) -> str:
        """The heading of the section."""
        return self.title or self.name or "Results"

    @property
    def place(self) -> dict[str, str]:
        """The entry of the section's name in JSON rows; empty without a name."""
        return {"cell": self.name} if self.name else {}


def main_method(rows: Sequence[Row]) -> str:
    """Return ``fedfr`` if it is among the methods, else the first method that trained."""
    names = list(dict.fromkeys(row.method for row in rows))
    trained = [name for name in names if name != START]
    return "fedfr" if "fedfr" in names else (trained or names)[0]


def shown_methods(rows: Sequence[Row]) -> list[str]:
    """Return the initially visible methods: all, or where there are many, the main one and its references."""
    names = list(dict.fromkeys(row.method for row in rows))
    wanted = {*_SHOWN, main_method(rows)}
    return names if len(names) <= _FEW else [name for name in names if name in wanted]


def charts(section: Section) -> list[Chart]:
    """Return every figure for which there is data."""
    rows = section.rows
    found: list[Chart] = []
    measured: dict[str, list[Curve]] = {}
    for curve in section.curves:
        measured.setdefault(curve.protocol, []).append(curve)
    for protocol, ours in measured.items():
        found += _rate_charts(protocol, ours)
    for protocol in (PERSONAL_VERIFICATION, GENERIC_VERIFICATION):
        shared = shared_metrics(rows, protocol)
        if not shared:
            continue
        metric = shared[0]
        values = _MetricByRound(rows, section.history, protocol, metric)
        if protocol == PERSONAL_VERIFICATION:
            found += _clients_charts(rows, metric)
        if values.models():
            found += [_rounds_chart(values), *_cost_charts(values, section.costs)]
    return found + [scores_chart(protocol, ours) for protocol, ours in measured.items() if not _is_search(protocol)]


def _rate_charts(protocol: str, curves: Sequence[Curve]) -> list[Chart]:
    """Return TAR over FAR or TPIR over FPIR, and the DET curve: the missed share on two logarithmic axes."""
    searched = _is_search(protocol)
    rate, accepted, missed = ("FPIR", "TPIR", "FNIR") if searched else ("FAR", "TAR", "FNMR")
    points: dict[Key, list[tuple[float, float]]] = {}
    for key, ours in by_model(curves).items():
        means = [_mean([curve.accepted[place] for curve in ours]) for place in range(len(RATES))]
        points[key] = [(x, y) for x, y in zip(RATES, means, strict=True) if y is not None]
    # A missed share of zero has no place on a logarithmic axis.
    rejected = {key: [(x, 1 - y) for x, y in each if y < 1] for key, each in points.items()}
    averaged_over = _averaged_over(("clients",) if curves[0].clients else (), {curve.seed for curve in curves})
    caption = f"{averaged_over}A curve begins where ten impostors are expected above the threshold."
    suffix = protocol.replace(":", "-")
    found = []
    # If every rate rests on too few impostors, there is nothing to draw.
    for name, title, y_title, each, log in (
        ("search" if searched else "roc", accepted, f"{accepted} (%)", points, False),
        ("search-det" if searched else "det", f"DET curve, {missed}", missed, rejected, True),
    ):
        if any(each.values()):
            scale = 1 if log else 100
            lines = [
                line_of(key, [x for x, _ in ours], [scale * y for _, y in ours], marked=len(ours) == 1)
                for key, ours in each.items()
                if ours
            ]
            table: list[Cells] = [("method", "model", rate, missed if log else accepted)]
            table += [(*key, *point) for key, ours in each.items() for point in ours]
            axes = Axis(rate, log=True), Axis(y_title, log=log)
            found.append(
                Chart(f"{name}-{suffix}", f"{title} at {rate}: {protocol}", caption, lines, *axes, table, OWN_OR_SHARED)
            )
    return found


def _averaged_over(what: Sequence[str], seeds: set[int]) -> str:
    """Return a sentence that says what points are averaged over; a single seed is not mentioned."""
    averaged_over = [*what, *(["seeds"] if len(seeds) > 1 else [])]
    return f"Mean over {' and '.join(averaged_over)}. " if averaged_over else ""


def _is_search(protocol: str) -> bool:
    return protocol.endswith("1:N")


def _clients_charts(rows: Sequence[Row], metric: str) -> list[Chart]:
    """Return every client's metric before and after: a line from the starting model's to the main method's."""
    method = main_method(rows)
    chosen = [row for row in rows if (row.protocol, row.metric) == (PERSONAL_VERIFICATION, metric)]
    chosen = [row for row in chosen if row.value is not None]  # clients without a model are omitted
    models = dict.fromkeys(row.model for row in chosen if row.method == method)
    # A method without personalized models has a single model for all clients.
    model = "personalized" if "personalized" in models else next(iter(models), "")
    shown = [row for row in chosen if row.value is not None]
    after = {(row.seed, row.client): row.value or 0.0 for row in shown if (row.method, row.model) == (method, model)}
    before = {(row.seed, row.client): row.value or 0.0 for row in shown if row.method == START}
    # Equal changes are sorted by name, so that the same results give the same page.
    both = sorted(after.keys() & before.keys(), key=lambda where: (after[where] - before[where], where))
    if not both or method == START:
        return []
    seeds = {seed for seed, _ in both}
    names = tuple(client if len(seeds) == 1 else f"{client}, seed {seed}" for seed, client in both)
    ends = [[100 * before[where] for where in both], [100 * after[where] for where in both]]
    places = [float(place) for place in range(len(both))]
    nothing = float("nan")
    joined = [value for start, end in zip(*ends, strict=True) for value in (start, end, nothing)]
    levels = [value for place in places for value in (place, place, nothing)]
    lines = [
        Line("", joined, levels, colour(START)),
        Line(START, ends[0], places, colour(START), dash=None, marker=marker(START)),
        Line(column_title(method, model), ends[1], places, colour(method), dash=None, marker=marker(method)),
    ]
    who = "client" if len(seeds) == 1 else "client and seed"
    named = len(both) <= MOST_NAMES
    return [
        Chart(
            "clients",
            f"Every client: {START} → {column_title(method, model)}",
            f"One line per {who}, from the starting model to the client's own, sorted by gain with the least at the "
            "bottom.",
            lines,
            Axis(f"{metric.replace('=', ' = ')} (%)"),
            Axis("" if named else f"{who}, by gain", names=names if named else ()),
            [("seed", "client", START, method), *((*where, before[where], after[where]) for where in both)],
        )
    ]


class _MetricByRound:
    """A metric of every model after every evaluated round: mean over clients and seeds."""

    def __init__(self, rows: Sequence[Row], history: Sequence[tuple[int, Row]], protocol: str, metric: str) -> None:
        self.protocol = protocol
        self.metric = metric
        self.seeds = {row.seed for row in rows}
        found: dict[tuple[Key, int], dict[tuple[int, str], float]] = {}
        last = {
            method: max(row.round for row in rows if row.method == method) for method in {row.method for row in rows}
        }
        # The model of a client that missed the last rounds is older; its result is drawn at the last round.
        for number, row in [*history, *((last[row.method], row) for row in rows)]:
            if (row.protocol, row.metric) == (protocol, metric) and row.value is not None:
                found.setdefault(((row.method, row.model), number), {})[row.seed, row.client] = row.value
        self.at = {where: fmean(values.values()) for where, values in found.items()}

    def models(self) -> list[Key]:
        """Return all models but the starting one."""
        return [key for key in dict.fromkeys(key for key, _ in self.at) if key[0] != START]

    def start(self) -> float | None:
        """Return the metric of the starting model."""
        return next((value for (key, _), value in self.at.items() if key[0] == START), None)

    def of(self, key: Key) -> list[tuple[int, float]]:
        """Return (round, value) pairs of a model, with the starting model's value as round 0."""
        start = self.start()
        own = sorted((number, value) for (name, number), value in self.at.items() if name == key)
        return own if start is None else [(0, start), *own]

    def averaged_over(self) -> str:
        """Return a sentence that says what points are averaged over."""
        return _averaged_over(("clients",) if self.protocol == PERSONAL_VERIFICATION else (), self.seeds)


def _rounds_chart(values: _MetricByRound) -> Chart:
    lines: list[Line] = []
    table: list[Cells] = [("method", "model", "round", values.metric)]
    for key in values.models():
        points = values.of(key)
        table += [(*key, *point) for point in points]
        lines.append(line_of(key, [number for number, _ in points], [100 * value for _, value in points]))
    return Chart(
        f"rounds-{values.protocol.replace(':', '-')}",
        f"Rounds: {values.metric}, {values.protocol}",
        f"{values.averaged_over()}Every method begins at the starting model; points are the evaluated rounds "
        "(evaluation.every).",
        lines,
        Axis("round", whole=True),
        Axis(f"{values.metric} (%)"),
        table,
        OWN_OR_SHARED,
    )


def _cost_charts(values: _MetricByRound, costs: Sequence[RoundCost]) -> list[Chart]:
    """Return the metric against its cost: bytes, and time where it is known of all rounds."""
    costs = [cost for cost in costs if cost.method != START]

    def sent(cost: RoundCost) -> float:
        return (cost.bytes_up + cost.bytes_down) / 1e6

    def worked(cost: RoundCost) -> float:
        return (cost.charged_seconds or 0.0) / 60

    kinds: list[tuple[str, str, str, Callable[[RoundCost], float]]] = [
        ("bytes", "Bytes", "sent up and down, all clients (MB)", sent),
        ("time", "Time", "client time, all clients together (minutes)", worked),
    ]
    if any(cost.charged_seconds is None for cost in costs):
        del kinds[1]
    found = []
    for name, title, axis, spent in kinds:
        lines: list[Line] = []
        table: list[Cells] = [("method", "model", "round", axis, values.metric)]
        for key in values.models():
            points = [(number, _cost_until(costs, key[0], number, spent), value) for number, value in values.of(key)]
            table += [(*key, *point) for point in points]
            lines.append(line_of(key, [x for _, x, _ in points], [100 * value for *_, value in points]))
        down = (
            " Every participating client downloads the full model, whether the method needs it or not."
            if name == "bytes"
            else ""
        )
        found.append(
            Chart(
                f"{name}-{values.protocol.replace(':', '-')}",
                f"{title}: {values.metric}, {values.protocol}",
                f"{values.averaged_over()}Markers: the starting model, the evaluated rounds, the last round.{down}",
                lines,
                Axis(axis),
                Axis(f"{values.metric} (%)"),
                table,
                OWN_OR_SHARED,
            )
        )
    return found


def _cost_until(costs: Sequence[RoundCost], method: str, rounds: int, spent: Callable[[RoundCost], float]) -> float:
    """Return the cost of a method's first rounds, mean over seeds."""
    ours = [cost for cost in costs if cost.method == method and cost.round <= rounds]
    seeds = {cost.seed for cost in costs if cost.method == method}
    return sum(map(spent, ours)) / max(len(seeds), 1)


def _mean(values: Sequence[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return fmean(given) if len(given) == len(values) else None
