"""The table that stands at the end of a run: every model beside the others, mean and worst client, counts behind."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from rich import box
from rich.console import Console
from rich.table import Table

from fedfr.rows import ALL_CLIENTS, NO_MODEL, Row

__all__ = ["column_title", "left_out", "markdown_table", "results_table", "summarise"]

# A line broken by the terminal can still be read, a name cut short cannot.
WIDE = 400
Summary = dict[tuple[str, str], dict[str, list[Row]]]
_ORDER = ("pretrained", "local", "generic", "personalized", "centralized")


def column_title(method: str, model: str) -> str:
    """``pretrained``, ``local``, ``centralized`` stand for themselves; others are named by method and model."""
    return model if method == model else f"{method} {model}"


def markdown_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Head, rule and lines."""
    rows = ["| " + " | ".join(cells) + " |" for cells in (head, *lines)]
    return "\n".join([rows[0], "|---" * len(head) + "|", *rows[1:]])


def summarise(rows: Sequence[Row]) -> Summary:
    """Rows by (protocol, metric) and column, in order of first appearance; one row per client."""
    table: Summary = {}
    for row in rows:
        columns = table.setdefault((row.protocol, row.metric), {})
        columns.setdefault(column_title(row.method, row.model), []).append(row)
    return table


def results_table(rows: Sequence[Row]) -> str:
    """Plain text; what the table leaves out – refused figures, clients without a model – is named below it."""
    models = dict.fromkeys((row.method, row.model) for row in rows)
    titles = [
        column_title(*key)
        for key in sorted(models, key=lambda key: _ORDER.index(key[1]) if key[1] in _ORDER else len(_ORDER))
    ]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("protocol", no_wrap=True)
    table.add_column("metric", no_wrap=True)
    table.add_column("genuine", justify="right")
    table.add_column("impostor", justify="right")
    for title in titles:
        table.add_column(title.replace(" ", "\n"), justify="right")
    summary, clients = summarise(rows), _clients(rows)
    for (protocol, metric), columns in summary.items():
        every = [row for column in columns.values() for row in column]
        if all(row.value is None for row in every):
            continue
        table.add_row(
            protocol,
            metric,
            _span([row.genuine for row in every]),
            _span([row.impostor for row in every]),
            *(_cell(columns.get(title, []), len(clients[protocol])) for title in titles),
        )
    out = io.StringIO()
    Console(file=out, width=WIDE, color_system=None).print(table)
    lines = [out.getvalue().rstrip(), "", "in %: mean over clients (worst client); a single number where no client is"]
    lines[-1] += " concerned. Counts are per client."
    incomplete = [*_refused_for_some(summary), *_without_model(summary, clients)]
    if incomplete:
        lines.append("[n of C]: mean over n clients of C only.")
    return "\n".join([*lines, *incomplete, *_refused_for_all(summary)])


def left_out(rows: Sequence[Row]) -> list[str]:
    """What tables of these rows lack, a sentence each: refused figures with the reason, clients without a model."""
    summary = summarise(rows)
    return [*_refused_for_some(summary), *_without_model(summary, _clients(rows)), *_refused_for_all(summary)]


def _clients(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Every client that a protocol has figures of, sorted; a protocol that concerns no client has none."""
    clients: dict[str, set[str]] = {}
    for row in rows:
        clients.setdefault(row.protocol, set()).update({row.client} - {ALL_CLIENTS})
    return {protocol: sorted(names) for protocol, names in clients.items()}


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _cell(rows: Sequence[Row], clients: int) -> str:
    values = [row.value for row in rows if row.value is not None]
    if not values:
        return "–"
    if not clients:
        return f"{100 * fmean(values):.1f}"
    some = f" [{len(values)} of {clients}]" if len(values) < clients else ""
    return f"{100 * fmean(values):.1f} ({100 * min(values):.1f}){some}"


def _refused_for_all(summary: Summary) -> list[str]:
    """Metrics that no model has a figure of, with the reason; clients' reasons may differ in their numbers."""
    groups: dict[tuple[str, str], list[str]] = {}
    for (protocol, metric), columns in summary.items():
        every = [row for column in columns.values() for row in column]
        if any(row.value is not None for row in every):
            continue
        every = [row for row in every if not row.lacks_model]
        reasons = list(dict.fromkeys(row.refused for row in every))
        if not reasons:
            continue
        reason = reasons[0]
        if len(reasons) > 1:
            reason += f" ({every[0].client}; others' reasons differ, see --json)"
        groups.setdefault((protocol, reason), []).append(metric)
    return [
        f"not shown for {protocol}: {', '.join(metrics)} – {reason}" for (protocol, reason), metrics in groups.items()
    ]


def _refused_for_some(summary: Summary) -> list[str]:
    """Figures that stand in the table without some clients, with those clients and the reason."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for (protocol, metric), columns in summary.items():
        if all(row.value is None for column in columns.values() for row in column):
            continue
        whose: dict[str, dict[str, None]] = {}
        for title, column in columns.items():
            for row in column:
                if row.value is None and not row.lacks_model:
                    whose.setdefault(row.refused, {})[row.client or title] = None
        for reason, names in whose.items():
            groups.setdefault((protocol, ", ".join(names), reason), []).append(metric)
    return [
        f"refused for {names} in {protocol}: {', '.join(metrics)} – {reason}"
        for (protocol, names, reason), metrics in groups.items()
    ]


def _without_model(summary: Summary, clients: Mapping[str, Sequence[str]]) -> list[str]:
    """Clients that one column lacks, with the reason where it is known; or that the server's model is of no use."""
    lacking: dict[tuple[str, str], dict[str, None]] = {}
    for (protocol, _), columns in summary.items():
        for title, rows in columns.items():
            for row in rows:
                if row.lacks_model:
                    lacking.setdefault((title, f": {row.refused.removeprefix(NO_MODEL)}"), {})[row.client] = None
            present = {row.client for row in rows}
            for client in clients[protocol]:
                if client not in present:
                    lacking.setdefault((title, ""), {})[client] = None
    return [f"no {title} model{_of(names)}{reason}" for (title, reason), names in lacking.items()]


def _of(clients: Iterable[str]) -> str:
    """Whose, but for a model that is everybody's."""
    named = [client for client in clients if client != ALL_CLIENTS]
    return f" of {', '.join(sorted(named))}" if named else ""
