"""Self-contained HTML report: tables, figures with their data, settings; no network access, no faces, no names."""

from __future__ import annotations

import base64
import gzip
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

from fedfr.reporting.audit_table import AUDIT_TABLE, audit_page_table
from fedfr.reporting.benchmark_table import benchmark_tables, overview_table, scorings_of
from fedfr.reporting.chart import Axis, Chart, Line
from fedfr.reporting.charts import Section, charts, shown_methods
from fedfr.reporting.cost_columns import cost_note
from fedfr.reporting.drawing import draw
from fedfr.reporting.gain import gain_chart, gain_table, gain_text, section_gains
from fedfr.reporting.markup import TABLE_FORMATS, PageTable, csv_text
from fedfr.reporting.palette import colour
from fedfr.reporting.primary_table import PRIMARY_TABLE, primary_table
from fedfr.reporting.scenario import sweep_charts
from fedfr.reporting.table import missing_values
from fedfr.results.audit_rows import AuditRow
from fedfr.results.federation_gain import Gain
from fedfr.results.result_rows import PLAIN, Row

__all__ = ["Report", "Section", "page"]

_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
_ELSEWHERE = (
    "`fedfr report FOLDER --figures DIR --tables DIR` writes every figure as PDF, SVG and PNG, and every table."
)
_BUTTONS = {"tex": "LaTeX", "md": "Markdown", "csv": "CSV"}


@dataclass(frozen=True)
class SectionContent:
    """Figures and tables of a section by name; names begin with the section's, except in the first section."""

    section: Section
    charts: Mapping[str, Chart]
    tables: Mapping[str, PageTable]


@dataclass(frozen=True)
class Report:
    """Content of a page; ``description`` holds lines of text, ``settings`` is YAML.

    With an ``axis`` the sections are points of a scenario, and figures along the axis replace those of the sections.
    ``audit``: rows of the run's privacy audit, if there is one.
    """

    title: str
    description: Sequence[str]
    sections: Sequence[Section]
    settings: str
    environment: Mapping[str, Any]
    axis: str = ""
    audit: Sequence[AuditRow] = ()

    def results(self) -> list[tuple[dict[str, str], Row]]:
        """Return every row, with its ``cell`` if sections have names."""
        return [(section.place, row) for section in self.sections for row in section.rows]

    def history(self) -> list[tuple[dict[str, str], int, Row]]:
        """Return every row of earlier rounds likewise, with the round after which it was evaluated."""
        return [(section.place, number, row) for section in self.sections for number, row in section.history]

    def methods(self) -> list[str]:
        """Return the methods that are visible initially."""
        return shown_methods([row for _, row in self.results()])

    @cached_property
    def contents(self) -> list[SectionContent]:
        """The content of every section, in order."""
        return [
            _section_content(section, f"{section.name}-" if number else "", draws=not self.axis)
            for number, section in enumerate(self.sections)
        ]

    @cached_property
    def gains(self) -> list[Gain]:
        """Gains of the federation along the axis; empty without one, or without the methods to compare."""
        return section_gains(self.sections) if self.axis else []

    def gain_text(self, width: int = 80) -> str:
        """Return the table of the gains for a terminal; empty if there are none."""
        return gain_text(self.axis, self.gains, width) if self.gains else ""

    @cached_property
    def audit_tables(self) -> list[PageTable]:
        """Table of the privacy audit; none without one."""
        return [audit_page_table(self.audit)] if self.audit else []

    @cached_property
    def charts(self) -> dict[str, Chart]:
        """All figures by name."""
        if self.axis:
            drawn = [gain_chart(self.axis, self.gains)] if self.gains else []
            return {chart.name: chart for chart in (*drawn, *sweep_charts(self.axis, self.sections))}
        return {name: chart for content in self.contents for name, chart in content.charts.items()}

    @cached_property
    def tables(self) -> dict[str, PageTable]:
        """All tables by name."""
        gained = [gain_table(self.axis, self.gains)] if self.gains else []
        own = {table.name: table for table in (*gained, *self.audit_tables)}
        return own | {name: table for content in self.contents for name, table in content.tables.items()}


def page(report: Report) -> str:
    """Return the page as HTML text."""
    drawn = {name: (chart, draw(chart, name)) for name, chart in report.charts.items()}
    figures = {name: _figure(name, chart, drawing.svg) for name, (chart, drawing) in drawn.items()}
    rows = [row for _, row in report.results()]
    lines = "".join(f"<p>{_text(line)}</p>" for line in report.description)
    body = [f"<header><h1>{_text(report.title)}</h1>{lines}</header>", _method_choice(rows, report.methods())]
    if report.axis:
        body += figures.values()
    if report.gains:
        table = gain_table(report.axis, report.gains)
        body.append(_table(table.name, table))
    for content in report.contents:
        body.append(f"<h2>{_text(content.section.heading)}</h2>")
        body += [_table(name, table) for name, table in content.tables.items()]
        missing = "".join(f"<li>{_prose(sentence)}</li>" for sentence in missing_values(content.section.rows))
        body.append(f"<details><summary>Not shown</summary><ul>{missing}</ul></details>" if missing else "")
        body += [figures[name] for name in content.charts]
    for table in report.audit_tables:
        body += ["<h2>Privacy audit</h2>", _table(table.name, table)]
    data = {
        "figures": {
            name: {
                "csv": csv_text(chart.table),
                "lines": [
                    {"method": line.method, "label": line.label, "points": _tooltips(chart, line, positions)}
                    for line, positions in zip(chart.lines, drawing.points, strict=True)
                ],
            }
            for name, (chart, drawing) in drawn.items()
        },
        "tables": {
            name: {form: write(table) for form, write in TABLE_FORMATS.items()} for name, table in report.tables.items()
        },
    }
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            # Nothing may be fetched, so that opening the page is not visible to others.
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{_text(report.title)}</title><style>{_asset('page.css')}</style></head><body><main>",
            *body,
            "<h2>Settings and machine</h2>",
            f"<p>{_prose(_ELSEWHERE)}</p>",
            f"<details><summary>Settings</summary><pre>{_text(report.settings)}</pre></details>",
            f"<details><summary>Machine</summary><pre>{_text(_lines(report.environment))}</pre></details>",
            '</main><div id="tip" hidden></div>',
            f'<script type="text/plain" id="data">{_compressed(data)}</script>',
            f"<script>{_asset('page.js')}</script>",
            "</body></html>",
        ]
    )


def _section_content(section: Section, prefix: str, *, draws: bool) -> SectionContent:
    costs = section.deal_costs
    spread = "Mean ± standard deviation over seeds" if len({row.seed for row in section.rows}) > 1 else "One seed"
    note = f"{spread}; worst client in brackets. In %, at the strictest rate that all models have."
    overviews = []
    for scoring in scorings_of(section.rows):
        head, lines = overview_table(section.rows, costs, scoring)
        plain = scoring == PLAIN
        name, title = ("overview", section.heading) if plain else (f"overview-{scoring}", f"With scoring {scoring} (%)")
        overviews.append(PageTable(name, title, head, lines, f"{note} {cost_note(costs)}".strip() if plain else note))
    declared = primary_table(section.rows, section.primary, section.deals)
    overviews += [] if declared is None else [declared]
    tables = [*overviews, *(table.for_page() for table in benchmark_tables(section.rows, section.deals, costs))]
    return SectionContent(
        section,
        {f"{prefix}{chart.name}": chart for chart in charts(section)} if draws else {},
        {f"{prefix}{table.name}": table for table in tables},
    )


def _table(name: str, table: PageTable) -> str:
    titles = "".join(f'<th scope="col">{_text(title)}</th>' for title in table.head)
    body = "".join(
        f'<tr><th scope="row">{_text(model)}</th>{"".join(f"<td>{_cell(cell)}</td>" for cell in cells)}</tr>'
        for model, *cells in table.lines
    )
    buttons = " ".join(
        f'<button type="button" data-table="{_text(name)}" data-form="{form}">{label}</button>'
        for form, label in _BUTTONS.items()
    )
    shown = (
        f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'
        f"<p>{_prose(table.note)}</p><p>{buttons}</p>"
    )
    if table.name in ("overview", PRIMARY_TABLE, AUDIT_TABLE):
        return f"<section>{shown}</section>"
    return f"<details><summary>{_text(table.title)}</summary>{shown}</details>"


def _method_choice(rows: Sequence[Row], shown: Sequence[str]) -> str:
    """Return the checkboxes that choose the visible methods."""
    chips = "".join(
        f'<label style="--colour: {colour(name)}"><input type="checkbox" data-method="{_text(name)}"'
        f"{' checked' if name in shown else ''}>{_text(name)}</label>"
        for name in dict.fromkeys(row.method for row in rows)
    )
    return f'<fieldset class="methods"><legend>methods shown in figures</legend>{chips}</fieldset>'


def _figure(name: str, chart: Chart, svg: str) -> str:
    buttons = " ".join(
        f'<button type="button" data-form="{form}">{form.upper()}</button>' for form in ("svg", "png", "csv")
    )
    caption = f"<h3>{_text(chart.title)}</h3><p>{_prose(chart.caption)}</p>"
    return (
        f'<figure id="{_text(name)}"><figcaption>{caption}</figcaption>'
        f'<div class="plot">{svg}</div><p>{buttons}</p></figure>'
    )


def _tooltips(chart: Chart, line: Line, positions: Sequence[tuple[float, float]]) -> list[tuple[float, float, str]]:
    """Return the positions of a line's points with their tooltips."""
    x_axis, y_axis = chart.x, chart.y
    if line.steps:
        x = [f"{start:.3g} to {end:.3g}" for start, end in zip(line.x[:-1], line.x[1:], strict=True)]
    else:
        x = [_value(x_axis, at) for at in line.x]
    y = [_value(y_axis, value) for value in line.y]
    return [
        (*place, f"{x_axis.title} {at}, {y_axis.title} {value}" if y_axis.title else f"{value}: {x_axis.title} {at}")
        for place, at, value in zip(positions, x, y, strict=True)
        if all(map(math.isfinite, place))
    ]


def _value(axis: Axis, value: float) -> str:
    return axis.names[int(value)] if axis.names and math.isfinite(value) else f"{value:.4g}"


def _cell(text: str) -> str:
    bold = text.startswith("**") and text.endswith("**")
    return f"<strong>{_text(text[2:-2])}</strong>" if bold else _text(text)


def _lines(values: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in values.items())


def _text(text: str) -> str:
    return html.escape(text)


def _prose(text: str) -> str:
    """Return sentences as HTML, with text between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _text(text))


def _compressed(content: Any) -> str:
    """Return compressed JSON in base64: a tenth of the size, and no text in it can end the element early."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _asset(name: str) -> str:
    return (files("fedfr.reporting") / name).read_text(encoding="utf-8")
