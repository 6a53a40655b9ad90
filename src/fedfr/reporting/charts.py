"""The figures of a report, each with its data as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from fedfr.evaluation import RATES
from fedfr.reporting.chart import Axis, Cells, Chart, Dash, Key, Line, line_of
from fedfr.reporting.histograms import by_model, scores_chart
from fedfr.reporting.palette import colour, marker
from fedfr.reporting.table import column_title
from fedfr.results.comparison import shared_metrics
from fedfr.results.costs import RoundCost
from fedfr.results.curve_records import Curve
from fedfr.results.result_rows import Row

__all__ = ["Section", "charts", "main_method", "shown_methods"]

PERSONAL_VERIFICATION, GENERIC_VERIFICATION = "personalized-1:1", "generic-1:1"
START = "pretrained"
OWN_OR_SHARED: tuple[tuple[str, Dash], ...] = (("a client's own model", "solid"), ("one model for all", "dotted"))
# Names below each other that a page can still hold; more clients are numbered.
MOST_NAMES = 40
# Shown at first where there are many; the others wait behind their names.
_SHOWN = ("pretrained", "local", "fedavg", "centralized")
_FEW = 7


@dataclass(frozen=True)
class Section:
    """Methods compared under the same settings: results, their score distributions, costs.

    ``history`` holds results of earlier rounds with the round after which they were found.

    ``name``, and where it stands in a scenario: ``at`` on the axis, on the line of its ``group``.
    """

    rows: Sequence[Row]
    curves: Sequence[Curve]
    history: Sequence[tuple[int, Row]]
    costs: Sequence[RoundCost]
    name: str = ""
    at: float | None = None
    group: str = ""

    @property
    def place(self) -> dict[str, str]:
        """Its name as a row says it; nothing where it has none."""
        return {"cell": self.name} if self.name else {}


def main_method(rows: Sequence[Row]) -> str:
    """FedFR where it took part, else the first method that trained."""
    names = list(dict.fromkeys(row.method for row in rows))
    trained = [name for name in names if name != START]
    return "fedfr" if "fedfr" in names else (trained or names)[0]


def shown_methods(rows: Sequence[Row]) -> list[str]:
    """The methods that figures show at first: all, or of many those that the main one is measured against."""
    names = list(dict.fromkeys(row.method for row in rows))
    wanted = {*_SHOWN, main_method(rows)}
    return names if len(names) <= _FEW else [name for name in names if name in wanted]


def charts(section: Section) -> list[Chart]:
    """Every figure that there is data for."""
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
    """TAR over FAR or TPIR over FPIR, and what is missed on two logarithmic axes: the DET curve."""
    searched = _is_search(protocol)
    rate, accepted, missed = ("FPIR", "TPIR", "FNIR") if searched else ("FAR", "TAR", "FNMR")
    points: dict[Key, list[tuple[float, float]]] = {}
    for key, ours in by_model(curves).items():
        means = [_mean([curve.accepted[place] for curve in ours]) for place in range(len(RATES))]
        points[key] = [(x, y) for x, y in zip(RATES, means, strict=True) if y is not None]
    # Nothing missed cannot stand on a logarithmic axis.
    rejected = {key: [(x, 1 - y) for x, y in each if y < 1] for key, each in points.items()}
    averaged_over = _averaged_over(("clients",) if curves[0].clients else (), {curve.seed for curve in curves})
    caption = f"{averaged_over}A curve begins where ten impostors are behind it."
    suffix = protocol.replace(":", "-")
    found = []
    # Where every rate rests on too few impostors there is nothing to draw.
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
    """What points are means over; of one seed there is none over seeds."""
    averaged_over = [*what, *(["seeds"] if len(seeds) > 1 else [])]
    return f"Mean over {' and '.join(averaged_over)}. " if averaged_over else ""


def _is_search(protocol: str) -> bool:
    return protocol.endswith("1:N")


def _clients_charts(rows: Sequence[Row], metric: str) -> list[Chart]:
    """Every client's figure before and after: a line from the starting model's to the main method's."""
    method = main_method(rows)
    chosen = [row for row in rows if (row.protocol, row.metric) == (PERSONAL_VERIFICATION, metric)]
    chosen = [row for row in chosen if row.value is not None]  # a client without a model has no place here
    models = dict.fromkeys(row.model for row in chosen if row.method == method)
    # A method without personalized models serves its clients with its only one.
    model = "personalized" if "personalized" in models else next(iter(models), "")
    shown = [row for row in chosen if row.value is not None]
    after = {(row.seed, row.client): row.value or 0.0 for row in shown if (row.method, row.model) == (method, model)}
    before = {(row.seed, row.client): row.value or 0.0 for row in shown if row.method == START}
    # Those that change alike by their names: the same results give the same page, in whatever order a set is read.
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
            f"One line per {who}, from the starting model to the client's own; those that gain least stand at the "
            "bottom.",
            lines,
            Axis(f"{metric.replace('=', ' = ')} (%)"),
            Axis("" if named else f"{who}, by gain", names=names if named else ()),
            [("seed", "client", START, method), *((*where, before[where], after[where]) for where in both)],
        )
    ]


class _MetricByRound:
    """A protocol's headline figure of every model after every round it is known of: mean over clients and seeds."""

    def __init__(self, rows: Sequence[Row], history: Sequence[tuple[int, Row]], protocol: str, metric: str) -> None:
        self.protocol = protocol
        self.metric = metric
        self.seeds = {row.seed for row in rows}
        found: dict[tuple[Key, int], dict[tuple[int, str], float]] = {}
        last = {
            method: max(row.round for row in rows if row.method == method) for method in {row.method for row in rows}
        }
        # A client that sat out the last rounds is represented by an older model: results stand at the last round.
        for number, row in [*history, *((last[row.method], row) for row in rows)]:
            if (row.protocol, row.metric) == (protocol, metric) and row.value is not None:
                found.setdefault(((row.method, row.model), number), {})[row.seed, row.client] = row.value
        self.at = {where: fmean(values.values()) for where, values in found.items()}

    def models(self) -> list[Key]:
        """All but the starting one."""
        return [key for key in dict.fromkeys(key for key, _ in self.at) if key[0] != START]

    def start(self) -> float | None:
        """The starting model's figure."""
        return next((value for (key, _), value in self.at.items() if key[0] == START), None)

    def of(self, key: Key) -> list[tuple[int, float]]:
        """(round, figure) of a model, the starting model's as round 0."""
        start = self.start()
        own = sorted((number, value) for (name, number), value in self.at.items() if name == key)
        return own if start is None else [(0, start), *own]

    def averaged_over(self) -> str:
        """What its points are means over, as a sentence."""
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
        f"{values.averaged_over()}Every method begins at the starting model; between, the rounds that were evaluated "
        "(evaluation.every).",
        lines,
        Axis("round", whole=True),
        Axis(f"{values.metric} (%)"),
        table,
        OWN_OR_SHARED,
    )


def _cost_charts(values: _MetricByRound, costs: Sequence[RoundCost]) -> list[Chart]:
    """The figure against what was spent for it: bytes, and time."""

    def sent(cost: RoundCost) -> float:
        return (cost.bytes_up + cost.bytes_down) / 1e6

    def worked(cost: RoundCost) -> float:
        return cost.client_seconds / 60

    kinds: list[tuple[str, str, str, Callable[[RoundCost], float]]] = [
        ("bytes", "Bytes", "sent up and down, all clients (MB)", sent),
        ("time", "Time", "client time, all clients together (minutes)", worked),
    ]
    found = []
    for name, title, axis, spent in kinds:
        lines: list[Line] = []
        table: list[Cells] = [("method", "model", "round", axis, values.metric)]
        for key in values.models():
            points = [(number, _cost_until(costs, key[0], number, spent), value) for number, value in values.of(key)]
            table += [(*key, *point) for point in points]
            lines.append(line_of(key, [x for _, x, _ in points], [100 * value for *_, value in points]))
        down = " The whole model goes down to every client that is asked, needed or not." if name == "bytes" else ""
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
    """By a method in its first rounds, mean over seeds."""
    ours = [cost for cost in costs if cost.method == method and cost.round <= rounds]
    seeds = {cost.seed for cost in costs if cost.method == method}
    return sum(map(spent, ours)) / max(len(seeds), 1)


def _mean(values: Sequence[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return fmean(given) if len(given) == len(values) else None
