"""One self-contained HTML page: tables, figures with their data, settings. No network, no faces, no names of people."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from plotly.offline import get_plotlyjs

from fedfr.reporting.charts import Chart, Section, charts, main_method
from fedfr.reporting.palette import colour
from fedfr.reporting.scenario import sweep_charts
from fedfr.reporting.standings import overview_table, standings_tables
from fedfr.reporting.table import left_out
from fedfr.rows import Row

__all__ = ["Report", "Section", "page"]

# Shown at first where there are many; the others wait behind their names.
_SHOWN = ("pretrained", "local", "fedavg", "centralized")
_FEW = 7
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


@dataclass(frozen=True)
class Report:
    """What a page is made of; ``description`` are lines of text, ``settings`` is YAML.

    With an ``axis`` the sections are points of a scenario, and what varies along it is drawn in place of their figures.
    """

    title: str
    description: Sequence[str]
    sections: Sequence[Section]
    settings: str
    environment: Mapping[str, Any]
    axis: str = ""

    def results(self) -> list[tuple[dict[str, str], Row]]:
        """Every row, with the ``cell`` it belongs to where sections have names."""
        return [(section.place, row) for section in self.sections for row in section.rows]

    def history(self) -> list[tuple[dict[str, str], int, Row]]:
        """Every earlier row likewise, with the round after which it was found."""
        return [(section.place, number, row) for section in self.sections for number, row in section.history]


def page(report: Report) -> str:
    """The whole page as HTML text."""
    drawn: dict[str, Chart] = {}
    rows = [row for _, row in report.results()]
    body = [
        f"<header><h1>{_text(report.title)}</h1>{''.join(f'<p>{_text(line)}</p>' for line in report.description)}",
        "</header>",
    ]
    if report.axis:
        drawn |= {chart.name: chart for chart in sweep_charts(report.axis, report.sections)}
        body += [*_choice(rows), *_figures(drawn)]
    else:
        body += _choice(rows)
    for number, section in enumerate(report.sections):
        prefix = f"{section.name}-" if number else ""
        ours = {} if report.axis else {f"{prefix}{chart.name}": chart for chart in charts(section)}
        drawn |= ours
        body += [f"<h2>{_text(section.name or 'Results')}</h2>", *_tables(section.rows), *_figures(ours)]
    body += [
        "<h2>What this rests on</h2>",
        f"<details><summary>Settings</summary><pre>{_text(report.settings)}</pre></details>",
        f"<details><summary>Machine</summary><pre>{_text(_lines(report.environment))}</pre></details>",
    ]
    data = {name: _data(chart) for name, chart in drawn.items()}
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            # Nothing may be fetched: whoever opens the page tells nobody of it.
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{_text(report.title)}</title><style>{_asset('page.css')}</style></head><body><main>",
            *body,
            "</main>",
            f'<script type="application/json" id="figures">{_json(data)}</script>',
            f"<script>{get_plotlyjs()}</script><script>{_asset('page.js')}</script>",
            "</body></html>",
        ]
    )


def _tables(rows: Sequence[Row]) -> list[str]:
    head, lines = overview_table(rows)
    note = "Mean ± deviation over seeds; in brackets the worst client. In %, at the strictest rate that all can show."
    parts = [_grid(head, lines), f"<p>{_text(note)}</p>"]
    parts += [
        f"<details><summary>{_text(table.protocol)}, {_text(table.metric)} (%)</summary>"
        f"{_grid(table.head, table.lines)}<p>{_text(table.conclusion)}</p></details>"
        for table in standings_tables(rows)
    ]
    missing = "".join(f"<li>{_text(sentence)}</li>" for sentence in left_out(rows))
    return [*parts, f"<details><summary>Not shown</summary><ul>{missing}</ul></details>" if missing else ""]


def _grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    titles = "".join(f'<th scope="col">{_text(title)}</th>' for title in head)
    body = "".join(
        f'<tr><th scope="row">{_text(model)}</th>{"".join(f"<td>{_cell(cell)}</td>" for cell in cells)}</tr>'
        for model, *cells in lines
    )
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _choice(rows: Sequence[Row]) -> list[str]:
    """Which methods the figures show."""
    names = list(dict.fromkeys(row.method for row in rows))
    shown = names if len(names) <= _FEW else [*_SHOWN, main_method(rows)]
    chips = "".join(
        f'<label style="--colour: {colour(name)}"><input type="checkbox" data-method="{_text(name)}"'
        f"{' checked' if name in shown else ''}>{_text(name)}</label>"
        for name in names
    )
    return [f'<fieldset class="methods"><legend>methods shown in figures</legend>{chips}</fieldset>']


def _figures(drawn: Mapping[str, Chart]) -> list[str]:
    return [_figure(name, chart) for name, chart in drawn.items()]


def _figure(name: str, chart: Chart) -> str:
    other = chart.alternative
    toggle = "" if other is None else f'<button type="button" class="other">{_text(other.label)}</button> '
    height = chart.layout["height"]
    return (
        f'<figure id="{_text(name)}"><figcaption><h3>{_text(chart.title)}</h3><p>{_text(chart.says)}</p></figcaption>'
        f'<div class="plot" style="height: {height}px"></div>'
        f'{toggle}<button type="button" class="csv">data as CSV</button></figure>'
    )


def _data(chart: Chart) -> dict[str, Any]:
    content = {"traces": chart.traces, "layout": chart.layout, "csv": _csv(chart.table)}
    other = chart.alternative
    return content if other is None else content | {"other": {"y": other.y, "yaxis": other.yaxis}}


def _cell(text: str) -> str:
    bold = text.startswith("**") and text.endswith("**")
    return f"<strong>{_text(text[2:-2])}</strong>" if bold else _text(text)


def _csv(table: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue()


def _lines(values: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in values.items())


def _text(text: str) -> str:
    return html.escape(text)


def _json(content: Any) -> str:
    # No "</script>" can end the element early.
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _asset(name: str) -> str:
    return (files("fedfr.reporting") / name).read_text(encoding="utf-8")
