"""Table and figure of the gain of a federation along the axis of a scenario."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fedfr.reporting.benchmark_table import FEW_PEOPLE, points
from fedfr.reporting.chart import Axis, Cells, Chart, Dash, Line
from fedfr.reporting.charts import Section
from fedfr.reporting.markup import PageTable
from fedfr.reporting.palette import colour, marker
from fedfr.reporting.table import column_title
from fedfr.reporting.text_tables import broken_title, text_table, wrapped
from fedfr.results.comparison import Difference
from fedfr.results.federation_gain import FEDERATED, Gain, Point, gains
from fedfr.results.intervals import FEWEST_DEALS

__all__ = ["gain_chart", "gain_table", "gain_text", "section_gains"]

NAME = "federation-gain"
TITLE = "Gain of the federation"


def section_gains(sections: Sequence[Section]) -> list[Gain]:
    """Return the gains at the points of a scenario, see :func:`~fedfr.results.federation_gain.gains`."""
    return gains(
        [
            Point(
                _label(section),
                None if section.group else section.at,
                section.rows,
                section.deals,
                section.costs,
                section.group,
            )
            for section in sections
        ]
    )


def _label(section: Section) -> str:
    place = section.name if section.at is None else f"{section.at:g}"
    return f"{place}, {section.group}" if section.group else place


def gain_table(axis: str, found: Sequence[Gain]) -> PageTable:
    """Return the table of gains in percentage points, with what a client sends and computes; settled ones are bold."""
    return PageTable(NAME, f"{TITLE} against {axis}", _head(axis), [_line(gain) for gain in found], _note(found))


def gain_text(axis: str, found: Sequence[Gain], width: int = 80) -> str:
    """Return the table for a terminal; settled gains have an asterisk."""
    head = [broken_title(title) for title in _head(axis)]
    lines = [[f"{cell[2:-2]}*" if cell.startswith("**") else cell for cell in _line(gain)] for gain in found]
    return "\n".join([f"{TITLE} against {axis}", "", text_table(head, lines, width), "", wrapped(_note(found), width)])


def gain_chart(axis: str, found: Sequence[Gain]) -> Chart:
    """Return the gains against ``axis``: a line for the generic and one for the personalized model, with intervals."""
    labels = list(dict.fromkeys(gain.point.label for gain in found))
    named = any(gain.point.at is None for gain in found)
    places = [float(place) for place in (range(len(labels)) if named else ())]
    ends = places or [gain.point.at or 0.0 for gain in found]
    lines = [Line("", [min(ends), max(ends)], [0.0, 0.0], colour("pretrained"), dash="dashed", width=0.8)]
    table: list[Cells] = [
        ("model", axis, "metric", "gain", "low", "high", "deals", "federated", "alternative", "without federation")
    ]
    dashes: tuple[tuple[str, Dash], ...] = (("generic", "dotted"), ("personalized", "solid"))
    for model, dash in dashes:
        ours = [gain for gain in found if gain.model == model]
        x = [float(labels.index(gain.point.label)) if named else gain.point.at or 0.0 for gain in ours]
        differences = [gain.difference for gain in ours]
        reach = [0.0 if each.high is None else each.high - each.mean for each in differences]
        line = Line(
            f"{FEDERATED} {model}",
            x,
            [100 * each.mean for each in differences],
            colour(FEDERATED),
            dash=dash,
            width=2.2,
            marker=marker(FEDERATED),
        )
        if ours:
            lines.append(replace(line, spread=[100 * half for half in reach]) if any(reach) else line)
        table += [
            (
                model,
                gain.point.label,
                f"{gain.protocol} {gain.metric}",
                gain.difference.mean,
                gain.difference.low,
                gain.difference.high,
                gain.difference.deals,
                gain.federated,
                column_title(*gain.alternative),
                gain.alone,
            )
            for gain in ours
        ]
    return Chart(
        NAME,
        f"{TITLE} against {axis}",
        _note(found),
        lines,
        Axis(axis, names=tuple(labels) if named else ()),
        Axis("gain in TAR (percentage points)"),
        table,
    )


def _head(axis: str) -> tuple[str, ...]:
    alone = "without federation"
    return (
        axis,
        FEDERATED,
        "best alternative",
        alone,
        "gain [95 %]",
        "rise from the point above [95 %]",
        "deals",
        "MB up",
        "MB down",
        "client CPU seconds",
        f"seconds {alone}",
    )


def _line(gain: Gain) -> tuple[str, ...]:
    cost = gain.cost
    return (
        f"{gain.point.label}, {gain.model}",
        f"{100 * gain.federated:.1f}",
        column_title(*gain.alternative),
        f"{100 * gain.alone:.1f}",
        _shown(gain.difference, gain.settled),
        "" if gain.rise is None else _shown(gain.rise, gain.rise_settled),
        str(gain.difference.deals),
        f"{cost.bytes_up / 1e6:.1f}",
        f"{cost.bytes_down / 1e6:.1f}",
        *("–" if seconds is None else f"{seconds:.0f}" for seconds in (cost.seconds, gain.alternative_cost.seconds)),
    )


def _shown(found: Difference, settled: bool) -> str:
    text = points(found.mean)
    if found.low is not None and found.high is not None:
        text += f" [{points(found.low)}, {points(found.high)}]"
    return f"**{text}**" if settled else text


def _note(found: Sequence[Gain]) -> str:
    metrics = dict.fromkeys(f"{gain.model} model: {gain.protocol} {gain.metric}" for gain in found)
    text = (
        f"In %: {'; '.join(metrics)}; mean over clients and deals. The alternative without a federation is the one "
        "with the highest mean at that point, which favours it: a starting model, or a method in which a client trains "
        "alone, for the generic model by the backbone of each client. The rise is that of fedfr, paired by deal. "
        "Costs are for one client, over all rounds."
    )
    if any(gain.point.deals.shared for gain in found):
        return f"{text} No intervals: deals train on the same people."
    if any(gain.difference.deals < FEWEST_DEALS for gain in found):
        return f"{text} An interval needs {FEWEST_DEALS} deals (seeds)."
    tested = [each for gain in found for each in (gain.difference, gain.rise) if each is not None]
    few = f" {FEW_PEOPLE}" if any(each.few for each in tested) else ""
    return (
        f"{text} Intervals are t intervals over deals with different people; gains and rises are marked where they are "
        f"not 0 at the level of 5 %, corrected for the number of both in the lines of a model (Holm).{few}"
    )
