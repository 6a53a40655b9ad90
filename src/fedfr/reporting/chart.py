"""Description of a figure, independent of the drawing library: lines, axes, caption, and data as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fedfr.reporting.palette import colour, is_emphasized, marker
from fedfr.reporting.table import column_title

__all__ = ["Axis", "Cells", "Chart", "Dash", "Key", "Line", "line_of"]

Dash = Literal["solid", "dashed", "dotted", "dashdot"]
Key = tuple[str, str]
Cells = tuple[object, ...]


@dataclass(frozen=True)
class Axis:
    """An axis. ``log``: logarithmic, labelled at whole decades. ``whole``: labelled at whole numbers only.

    ``names`` are labels at 0, 1, … in place of numbers.
    """

    title: str
    log: bool = False
    whole: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """Points joined in order, with NaN where the line is broken; without ``dash`` they are not joined.

    ``label`` is the legend entry, empty for none. A line of a ``method`` is visible while that method is chosen. With
    ``steps`` there is one more x than y: the edges of bins. ``spread``: half an error bar per point.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    method: str = ""
    dash: Dash | None = "solid"
    width: float = 1.2
    marker: str = ""
    steps: bool = False
    spread: Sequence[float] = ()


@dataclass(frozen=True)
class Chart:
    """A figure; ``styles`` explains dashes shared by several lines, ``table`` is the data of the lines, head first."""

    name: str
    title: str
    caption: str
    lines: Sequence[Line]
    x: Axis
    y: Axis
    table: Sequence[Cells]
    styles: Sequence[tuple[str, Dash]] = ()


def line_of(key: Key, x: Sequence[float], y: Sequence[float], *, marked: bool = True) -> Line:
    """Return a model's line in its method's colour and marker; dotted for a model shared by all clients."""
    method, model = key
    return Line(
        column_title(method, model),
        list(x),
        list(y),
        colour(method),
        method,
        "solid" if model in ("personalized", "local") else "dotted",
        2.2 if is_emphasized(method) else 1.2,
        marker(method) if marked else "",
    )
