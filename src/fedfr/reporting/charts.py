"""The figures of a report as Plotly specifications, each with its data as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from fedfr.comparison import shared_metrics
from fedfr.costs import RoundCost
from fedfr.curves import HISTOGRAM_WIDTH, Curve
from fedfr.evaluation import RATES
from fedfr.reporting.palette import colour, is_emphasised
from fedfr.reporting.table import column_title
from fedfr.rows import Row

__all__ = ["Alternative", "Chart", "Section", "charts", "layout_of", "line_of", "main_method"]

PERSONAL_VERIFICATION, GENERIC_VERIFICATION = "personalized-1:1", "generic-1:1"
START = "pretrained"
Key = tuple[str, str]
Cells = tuple[object, ...]


@dataclass(frozen=True)
class Alternative:
    """Another view of the same traces: what stands on the y axis instead, and that axis."""

    label: str
    y: Sequence[Sequence[float | None]]
    yaxis: dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """``traces`` and ``layout`` are Plotly's; ``table`` is what they show, its head first.

    A trace whose ``meta`` names a method is shown while that method is chosen.
    """

    name: str
    title: str
    says: str
    traces: Sequence[dict[str, Any]]
    layout: dict[str, Any]
    table: Sequence[Cells]
    alternative: Alternative | None = None


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


def charts(section: Section) -> list[Chart]:
    """Every figure that there is data for."""
    rows, curves = section.rows, section.curves
    found: list[Chart] = []
    measured: dict[str, list[Curve]] = {}
    for curve in curves:
        measured.setdefault(curve.protocol, []).append(curve)
    # Where every rate rests on too few impostors there is nothing to draw.
    drawable = {key: ours for key, ours in measured.items() if any(any(_given(curve)) for curve in ours)}
    found += [_acceptance(protocol, ours) for protocol, ours in drawable.items()]
    for protocol in (PERSONAL_VERIFICATION, GENERIC_VERIFICATION):
        shared = shared_metrics(rows, protocol)
        if not shared:
            continue
        metric = shared[0]
        values = _Values(rows, section.history, protocol, metric)
        if protocol == PERSONAL_VERIFICATION:
            found += _clients(rows, metric)
        if values.models():
            found += [_rounds(values), *_spending(values, section.costs)]
    return found + [_scores(protocol, ours) for protocol, ours in measured.items() if not _is_search(protocol)]


def _acceptance(protocol: str, curves: Sequence[Curve]) -> Chart:
    """TAR over FAR or TPIR over FPIR; the alternative is the DET curve."""
    searched = _is_search(protocol)
    rate, accepted, missed = ("FPIR", "TPIR", "FNIR") if searched else ("FAR", "TAR", "FNMR")
    traces: list[dict[str, Any]] = []
    table: list[Cells] = [("method", "model", rate, accepted)]
    rejected: list[list[float | None]] = []
    for key, ours in _by_model(curves).items():
        means = [_mean([curve.accepted[place] for curve in ours]) for place in range(len(RATES))]
        points = [(x, y) for x, y in zip(RATES, means, strict=True) if y is not None]
        table += [(*key, x, y) for x, y in points]
        traces.append(line_of(key, [x for x, _ in points], [100 * y for _, y in points]))
        # Nothing missed cannot stand on a logarithmic axis.
        rejected.append([100 * (1 - y) if y < 1 else None for _, y in points])
    layout = layout_of(rate, f"{accepted} (%)", x={"type": "log"})
    other = Alternative(
        missed if searched else f"{missed} (DET curve)", rejected, {"title": {"text": f"{missed} (%)"}, "type": "log"}
    )
    name = "search" if searched else "roc"
    says = "Mean over clients and seeds. " if curves[0].clients else "Mean over seeds. "
    return Chart(
        f"{name}-{protocol.replace(':', '-')}",
        f"{accepted} at {rate}: {protocol}",
        f"{says}{_DASHES} A curve begins where ten impostors are behind it.",
        traces,
        layout,
        table,
        other,
    )


def _given(curve: Curve) -> list[bool]:
    return [value is not None for value in curve.accepted]


def _is_search(protocol: str) -> bool:
    return protocol.endswith("1:N")


def _scores(protocol: str, curves: Sequence[Curve]) -> Chart:
    """Genuine and impostor scores of the model that a client would use."""
    traces: list[dict[str, Any]] = []
    table: list[Cells] = [("method", "model", "score", "genuine", "impostor")]
    models = _by_model(curves)
    for key, ours in models.items():
        if key[1] == "generic" and (key[0], "personalized") in models:
            continue
        centres = [round(-1 + HISTOGRAM_WIDTH * (place + 0.5), 4) for place in range(len(ours[0].genuine))]
        counts = [[sum(at) for at in zip(*parts, strict=True)] for parts in _parts(ours)]
        table += [(*key, centre, *pair) for centre, *pair in zip(centres, *counts, strict=True)]
        for what, dash, each in zip(("genuine", "impostor"), ("solid", "dash"), counts, strict=True):
            shares = [100 * count / max(sum(each), 1) for count in each]
            trace = line_of(key, centres, shares) | {"name": f"{column_title(*key)}, {what}", "legendgroup": key[0]}
            trace["line"] |= {"dash": dash}
            traces.append(trace)
    return Chart(
        f"scores-{protocol.replace(':', '-')}",
        f"Scores: {protocol}",
        "Share of the genuine (solid) and impostor (dashed) pairs by cosine, all clients and seeds together; of a "
        "method with personalised models, theirs. The less the two overlap, the better.",
        traces,
        layout_of("cosine", "share of pairs (%)"),
        table,
    )


def _parts(curves: Sequence[Curve]) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    return [curve.genuine for curve in curves], [curve.impostor for curve in curves]


def _clients(rows: Sequence[Row], metric: str) -> list[Chart]:
    """Every client's figure before and after: a line from the starting model's to the main method's."""
    method = main_method(rows)
    chosen = [row for row in rows if row.protocol == PERSONAL_VERIFICATION and row.metric == metric]
    models = dict.fromkeys(row.model for row in chosen if row.method == method)
    # A method without personalised models serves its clients with its only one.
    model = "personalized" if "personalized" in models else next(iter(models), "")
    shown = [row for row in chosen if row.value is not None]
    after = {(row.seed, row.client): row.value or 0.0 for row in shown if (row.method, row.model) == (method, model)}
    before = {(row.seed, row.client): row.value or 0.0 for row in shown if row.method == START}
    # Those that change alike by their names: the same results give the same page, in whatever order a set is read.
    both = sorted(after.keys() & before.keys(), key=lambda where: (after[where] - before[where], where))
    if not both or method == START:
        return []
    seeds = {seed for seed, _ in both}
    names = [client if len(seeds) == 1 else f"{client}, seed {seed}" for seed, client in both]
    ends = [[100 * before[where] for where in both], [100 * after[where] for where in both]]
    joined: dict[str, list[Any]] = {"x": [], "y": []}
    for name, start, end in zip(names, *ends, strict=True):
        joined["x"] += [start, end, None]
        joined["y"] += [name, name, None]
    marker, line = {"size": 9}, {"width": 2, "color": colour(START)}
    traces = [
        {"type": "scatter", "mode": "lines", **joined, "line": line, "hoverinfo": "skip", "showlegend": False},
        _dots(START, ends[0], names, marker | {"color": colour(START)}),
        _dots(column_title(method, model), ends[1], names, marker | {"color": colour(method)}),
    ]
    layout = layout_of(f"{metric.replace('=', ' = ')} (%)", "") | {"height": 140 + 22 * len(both), "showlegend": True}
    layout["yaxis"] |= {"automargin": True, "type": "category"}
    return [
        Chart(
            "clients",
            f"Every client: {START} → {column_title(method, model)}",
            "One line per client and seed, from the starting model to the client's own; clients that lose stand at the "
            "bottom.",
            traces,
            layout,
            [("seed", "client", START, method), *((*where, before[where], after[where]) for where in both)],
        )
    ]


def _dots(name: str, x: list[float], y: list[str], marker: dict[str, Any]) -> dict[str, Any]:
    return {"type": "scatter", "mode": "markers", "name": name, "x": x, "y": y, "marker": marker}


class _Values:
    """A protocol's headline figure of every model after every round it is known of: mean over clients and seeds."""

    def __init__(self, rows: Sequence[Row], history: Sequence[tuple[int, Row]], protocol: str, metric: str) -> None:
        self.protocol = protocol
        self.metric = metric
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


def _rounds(values: _Values) -> Chart:
    traces: list[dict[str, Any]] = []
    table: list[Cells] = [("method", "model", "round", values.metric)]
    for key in values.models():
        points = values.of(key)
        table += [(*key, *point) for point in points]
        trace = line_of(key, [number for number, _ in points], [100 * value for _, value in points])
        traces.append(trace | {"mode": "lines+markers"})
    return Chart(
        f"rounds-{values.protocol.replace(':', '-')}",
        f"Rounds: {values.metric}, {values.protocol}",
        f"{_DASHES} Every method begins at the starting model; between, the rounds that were evaluated "
        "(`evaluation.every`).",
        traces,
        layout_of("round", f"{values.metric} (%)"),
        table,
    )


def _spending(values: _Values, costs: Sequence[RoundCost]) -> list[Chart]:
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
        traces: list[dict[str, Any]] = []
        table: list[Cells] = [("method", "model", "round", axis, values.metric)]
        for key in values.models():
            points = [(number, _spent(costs, key[0], number, spent), value) for number, value in values.of(key)]
            table += [(*key, *point) for point in points]
            trace = line_of(key, [x for _, x, _ in points], [100 * value for *_, value in points])
            sizes = [5] * (len(points) - 1) + [11]
            traces.append(trace | {"mode": "lines+markers", "marker": {"size": sizes, "color": colour(key[0])}})
        down = " The whole model goes down to every client that is asked, needed or not." if name == "bytes" else ""
        found.append(
            Chart(
                f"{name}-{values.protocol.replace(':', '-')}",
                f"{title}: {values.metric}, {values.protocol}",
                f"{_DASHES} Mean over seeds; the large dot is the last round.{down}",
                traces,
                layout_of(axis, f"{values.metric} (%)"),
                table,
            )
        )
    return found


def _spent(costs: Sequence[RoundCost], method: str, rounds: int, spent: Callable[[RoundCost], float]) -> float:
    """By a method in its first rounds, mean over seeds."""
    ours = [cost for cost in costs if cost.method == method and cost.round <= rounds]
    seeds = {cost.seed for cost in costs if cost.method == method}
    return sum(map(spent, ours)) / max(len(seeds), 1)


def _by_model(curves: Sequence[Curve]) -> dict[Key, list[Curve]]:
    found: dict[Key, list[Curve]] = {}
    for curve in curves:
        found.setdefault((curve.method, curve.model), []).append(curve)
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return fmean(given) if len(given) == len(values) else None


_DASHES = "Solid: a client's own model; dotted: one for all."


def line_of(key: Key, x: Sequence[float | str], y: Sequence[float]) -> dict[str, Any]:
    """A model's trace in its colour, dotted for a generic one."""
    method, model = key
    line = {"color": colour(method), "width": 3 if is_emphasised(method) else 1.5}
    line["dash"] = "solid" if model in ("personalized", "local") else "dot"
    return {
        "type": "scatter",
        "mode": "lines",
        "name": column_title(method, model),
        "meta": {"method": method},
        "x": list(x),
        "y": list(y),
        "line": line,
    }


def layout_of(x_title: str, y_title: str, x: dict[str, Any] | None = None) -> dict[str, Any]:
    """A figure's layout; colours are the page's."""
    return {
        "height": 400,
        "margin": {"l": 56, "r": 26, "t": 28, "b": 52},
        "hovermode": "closest",
        "showlegend": False,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {"title": {"text": x_title}, **(x or {})},
        "yaxis": {"title": {"text": y_title}},
    }
