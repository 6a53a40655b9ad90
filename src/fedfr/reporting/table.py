"""The table that stands at the end of a run: every model beside the others, mean and worst client, counts behind."""

from __future__ import annotations

import io
from collections.abc import Sequence
from statistics import fmean

from rich import box
from rich.console import Console
from rich.table import Table

from fedfr.rows import Row

__all__ = ["results_table", "summarise"]

# A line broken by the terminal can still be read, a name cut short cannot.
WIDE = 400
_ORDER = ("pretrained", "local", "generic", "personalized", "centralized")


def column_title(method: str, model: str) -> str:
    """``pretrained``, ``local``, ``centralized`` stand for themselves; others are named by method and model."""
    return model if method == model else f"{method} {model}"


def summarise(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, list[Row]]]:
    """Rows by (protocol, metric) and column, in order of first appearance; one row per client."""
    table: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in rows:
        columns = table.setdefault((row.protocol, row.metric), {})
        columns.setdefault(column_title(row.method, row.model), []).append(row)
    return table


def results_table(rows: Sequence[Row]) -> str:
    """Plain text; a metric refused for every model is listed below the table with the reason."""
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
    refused: dict[str, list[str]] = {}
    for (protocol, metric), columns in summarise(rows).items():
        every = [row for column in columns.values() for row in column]
        if all(row.value is None for row in every):
            refused.setdefault(protocol, []).append(metric)
            continue
        table.add_row(
            protocol,
            metric,
            _span([row.genuine for row in every]),
            _span([row.impostor for row in every]),
            *(_cell(columns.get(title, [])) for title in titles),
        )
    out = io.StringIO()
    Console(file=out, width=WIDE, color_system=None).print(table)
    lines = [out.getvalue().rstrip(), "", "in %: mean over clients (worst client); a single number where no client is"]
    lines[-1] += " concerned. Counts are per client."
    for protocol, metrics in refused.items():
        lines.append(f"not shown for {protocol}: {', '.join(metrics)} – fewer than ten impostors behind the figure")
    return "\n".join(lines)


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _cell(rows: Sequence[Row]) -> str:
    values = [row.value for row in rows if row.value is not None]
    if not values:
        return "–"
    if len(rows) == 1 and not rows[0].client:
        return f"{100 * values[0]:.1f}"
    return f"{100 * fmean(values):.1f} ({100 * min(values):.1f})"
