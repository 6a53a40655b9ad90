"""What a figure of the report is, whoever draws it: lines, axes, what it says, and its data as a table."""

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
    """``log``: logarithmic, labelled at whole decades. ``whole``: labelled at whole numbers alone.

    ``names`` stand at 0, 1, … in place of numbers.
    """

    title: str
    log: bool = False
    whole: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """Points in the order they are joined, NaN where the line is broken; no ``dash``: they are not joined.

    ``label`` stands in the legend, an empty one does not. A line of a ``method`` is shown while that is chosen.
    With ``steps`` there is one x more than there are y: the ends of bins. ``spread``: half an error bar per point.
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
    """``styles`` explains dashes that several lines share; ``table`` is the data behind the lines, its head first."""

    name: str
    title: str
    caption: str
    lines: Sequence[Line]
    x: Axis
    y: Axis
    table: Sequence[Cells]
    styles: Sequence[tuple[str, Dash]] = ()


def line_of(key: Key, x: Sequence[float], y: Sequence[float], *, marked: bool = True) -> Line:
    """A model's line in its method's colour and with its marker; dotted for a model that is one for all."""
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
