"""Figures drawn by Matplotlib: as SVG in the colours of the page, and as PDF, SVG and PNG for papers."""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedfr.reporting.chart import Axis, Chart, Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "Drawing", "draw", "export"]

FORMATS = ("pdf", "svg", "png")
# A column of a paper is 3.3 to 3.5 inches wide, a page 6.5: text of 9 points is readable in both.
_WIDTH, _HEIGHT, _PER_NAME, _LEGEND_LINE = 4.5, 2.9, 0.17, 0.17
_POINTS = 72
INK, GRID = "#1c2026", "#d9dde3"
_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 1.9,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 0.9,
    "legend.borderaxespad": 0.2,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "lines.markersize": 4,
    # Text stays text: it can be searched and copied and follows the page's colours.
    "svg.fonttype": "none",
    "svg.hashsalt": "fedfr",
    "pdf.fonttype": 42,
    # Names may contain dollar signs.
    "text.parse_math": False,
    "figure.dpi": _POINTS,
    "savefig.dpi": 300,
    "savefig.facecolor": "white",
}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_UNDATED: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "png": {"Software": None},
}


@dataclass(frozen=True)
class Drawing:
    """A figure for the page: its SVG and, per line of the chart, the positions of its points in SVG units."""

    svg: str
    points: Sequence[Sequence[tuple[float, float]]]


def draw(chart: Chart, name: str) -> Drawing:
    """Draw all lines of ``chart`` for the page.

    Ids of elements begin with ``name``; those of line n and of its legend entry are ``name--n``, ``name--n-key`` and
    ``name--n-text``.
    """
    with _style():
        figure, axes = _figure(chart, chart.lines, name)
        height = figure.get_figheight() * _POINTS
        points = [_positions(line, axes, height) for line in chart.lines]
        return Drawing(_for_page(_saved(figure, "svg").decode(), name, chart.title), points)


def export(chart: Chart, methods: Collection[str], form: str) -> bytes:
    """Return a file in one of :data:`FORMATS` with the lines of these ``methods``; equal charts give equal bytes."""
    lines = [line for line in chart.lines if not line.method or line.method in methods]
    with _style():
        figure, _ = _figure(chart, lines, chart.name)
        return _saved(figure, form)


@contextmanager
def _style() -> Iterator[None]:
    """Apply Matplotlib's defaults and our style within the block, then restore the caller's settings."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        settings: Any = mpl.rcParams
        settings.update(_STYLE)
        yield


def _saved(figure: Figure, form: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, metadata=_UNDATED[form])
    return buffer.getvalue()


def _figure(chart: Chart, lines: Sequence[Line], name: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    tall = max(_HEIGHT, 1.0 + _PER_NAME * len(chart.y.names))
    figure = Figure(figsize=(_WIDTH, tall))
    axes = figure.add_subplot()
    for number, line in enumerate(lines):
        for artist in _plot_line(line, axes):
            artist.set_gid(f"{name}--{number}")
    _set_axis(axes, "x", chart.x, [value for line in lines for value in line.x])
    _set_axis(axes, "y", chart.y, [value for line in lines for value in line.y])
    if any(line.steps for line in lines):
        axes.set_ylim(bottom=0)
    rows = _legend(figure, chart, lines, name)
    space = _LEGEND_LINE * rows + 0.1
    figure.set_size_inches(_WIDTH, tall + space)
    share = space / (tall + space)
    figure.legends[0].set_bbox_to_anchor((0.0, share), transform=figure.transFigure)
    # Laid out once; Matplotlib would repeat it for every file.
    ConstrainedLayoutEngine(rect=(0.0, share, 1.0, 1.0 - share), w_pad=0.04, h_pad=0.04).execute(figure)
    return figure, axes


def _plot_line(line: Line, axes: Axes) -> list[Any]:
    """Plot a line and its error bars; returns the artists."""
    if line.steps:
        # From zero and back to zero, so that the first and the last bin have outer edges.
        x = [value for value in line.x for _ in range(2)]
        y = [0.0, *(value for value in line.y for _ in range(2)), 0.0] if line.y else []
        return axes.plot(x, y, color=line.colour, linestyle=line.dash or "none", linewidth=line.width)
    style: dict[str, Any] = {"color": line.colour, "linewidth": line.width, "marker": line.marker or None}
    found: list[Any] = [*axes.plot(line.x, line.y, linestyle=line.dash or "none", **style)]
    if line.spread:
        *_, bars = axes.errorbar(
            line.x, line.y, line.spread, fmt="none", ecolor=line.colour, elinewidth=0.8, capsize=2
        ).lines
        found += bars
    return found


def _legend(figure: Figure, chart: Chart, lines: Sequence[Line], name: str) -> int:
    """Draw the legend below the axes, labels before dashes, in as many columns as fit; returns its number of lines."""
    from matplotlib.lines import Line2D

    entries: list[tuple[Line2D, str, str]] = []
    for number, line in enumerate(lines):
        if line.label:
            # The dash is explained separately where lines of one label have several.
            key = Line2D([], [], color=line.colour, linestyle=line.dash or "none", linewidth=line.width)
            key.set_marker(line.marker or "None")
            entries.append((key, line.label, f"{name}--{number}"))
    used = {line.dash for line in lines}
    for number, (label, dash) in enumerate(chart.styles):
        if dash in used:
            key = Line2D([], [], color=INK, linestyle=dash, linewidth=1.2)
            entries.append((key, label, f"{name}--style{number}"))
    labels = [textwrap.fill(label, 56) for _, label, _ in entries]
    # A letter is on average 0.55 of its size wide; the key takes the width of four.
    widest = max((len(line) for label in labels for line in label.splitlines()), default=0)
    columns = max(1, min(int(_WIDTH * _POINTS / ((0.55 * widest + 3.6) * _STYLE["legend.fontsize"])), len(entries)))
    legend = figure.legend([key for key, *_ in entries], labels, loc="upper left", ncols=columns)
    for handle, text, (*_, place) in zip(legend.legend_handles, legend.get_texts(), entries, strict=True):
        if handle is not None:
            handle.set_gid(f"{place}-key")
        text.set_gid(f"{place}-text")
    taller = sum(label.count("\n") for label in labels)
    return math.ceil(len(entries) / columns) + taller


def _set_axis(axes: Axes, which: str, axis: Axis, values: Sequence[float]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    drawn = getattr(axes, f"{which}axis")
    if axis.whole:
        drawn.set_major_locator(MaxNLocator(integer=True))
    getattr(axes, f"set_{which}label")(axis.title)
    limits = getattr(axes, f"set_{which}lim")
    if axis.names:
        getattr(axes, f"set_{which}ticks")(range(len(axis.names)), [_short(text) for text in axis.names])
        limits(-0.6, len(axis.names) - 0.4)
    if axis.log:
        getattr(axes, f"set_{which}scale")("log")
        given = [value for value in values if value > 0 and math.isfinite(value)] or [0.1, 1.0]
        low, high = math.floor(math.log10(min(given)) + 1e-9), math.ceil(math.log10(max(given)) - 1e-9)
        low -= low == high
        # Leaves half a line's width beside the first and the last decade.
        limits(10 ** (low - 0.02), 10 ** (high + 0.02))
        apart = math.ceil((high - low + 1) / 8)
        drawn.set_major_locator(FixedLocator([10.0**power for power in range(high, low - 1, -apart)]))
        drawn.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))
        drawn.set_minor_locator(LogLocator(subs=list(range(2, 10))))
        drawn.set_minor_formatter(NullFormatter())


def _power(value: float) -> str:
    """Format a power of ten: 10⁻³, and 1 for 10⁰."""
    exponent = round(math.log10(value))
    return f"10{str(exponent).translate(_SUPERSCRIPTS)}" if exponent else "1"


def _short(text: str) -> str:
    """Shorten a name for the axis; the data keep the full name."""
    return text if len(text) <= 28 else f"{text[:13]}…{text[-13:]}"


def _positions(line: Line, axes: Axes, height: float) -> list[tuple[float, float]]:
    x = [(start + end) / 2 for start, end in zip(line.x[:-1], line.x[1:], strict=True)] if line.steps else line.x
    positions = [axes.transData.transform((float(at), float(value))) for at, value in zip(x, line.y, strict=True)]
    return [(round(float(at), 1), round(height - float(value), 1)) for at, value in positions]


def _for_page(svg: str, name: str, title: str) -> str:
    """Return the svg element for the page: unique ids, the page's colours, and as wide as its container."""
    from html import escape

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(rf'\bid="(?!{re.escape(name)}--)', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg).replace('xlink:href="#', f'xlink:href="#{name}-')
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace(
        "<svg", f'<svg role="img" aria-label="{escape(title)}" stroke-linejoin="round" stroke-linecap="butt"', 1
    )
    # Two decimals are exact to a ten-thousandth of an inch and halve the size.
    svg = re.sub(r"(\d\.\d\d)\d+", r"\1", svg)
    svg = svg.replace(INK, "var(--ink)").replace(GRID, "var(--line)").replace("#ffffff", "var(--ground)")
    return re.sub(r"\n\s*", "\n", svg).strip()
