"""Search of a method's settings in a limited number of trials: one axis after the other, each bracketed.

A trial is a point: one position per axis, 0 for the centre. The search is a function of the finished trials, so that it
can be interrupted, and repeated from its record.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

__all__ = ["Axis", "Point", "best", "open_ends", "preference", "proposals"]

Point = tuple[float, ...]
# A step, and what is left of the trials in a search that is refined; exact in binary.
_WIDTHS = (1.0, 1 / 2, 1 / 4, 1 / 8)


@dataclass(frozen=True)
class Axis:
    """A setting that is searched: a step from ``centre`` multiplies by ``factor`` or, where it is 0, adds ``step``.

    ``low`` and ``high`` are the least and the largest value that are tried; ``whole``: whole numbers only.
    ``personal``: whether only the personalized model depends on it, so that this model has to be judged.
    """

    name: str
    centre: float
    factor: float = 0.0
    step: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    personal: bool = False
    whole: bool = False

    def value(self, position: float) -> float:
        """Return the setting at a position, rounded to four significant digits or to a whole number."""
        value = self.centre * self.factor**position if self.factor else self.centre + self.step * position
        return round(value) if self.whole else float(f"{value:.4g}")

    def position(self, value: float) -> float:
        """Return the position of a setting that :meth:`value` returned; of several the one on the coarsest grid."""
        steps = math.log(value / self.centre, self.factor) if self.factor else (value - self.centre) / self.step
        found = [round(steps / width) * width for width in _WIDTHS]
        return next((position for position in found if self.value(position) == value), found[-1])

    def allows(self, position: float) -> bool:
        """Whether a position is within the limits, and its value that of no coarser position."""
        value = self.value(position)
        return self.low <= value <= self.high and self.position(value) == position

    def centred(self, centre: float) -> Axis:
        """Return the axis around another centre."""
        return replace(self, centre=float(f"{centre:.4g}"))

    def pinned(self) -> Axis:
        """Return the axis with its centre as the only value."""
        return replace(self, low=self.centre, high=self.centre)


def best(scores: Mapping[Point, float]) -> Point:
    """Return the point with the highest score, see :func:`preference`."""
    return min(scores, key=lambda point: preference(scores[point], point))


def preference(score: float, point: Point) -> tuple[float, float, Point]:
    """Return the sort key of a trial: the highest score, of equal ones the nearest to the centre, then the smaller."""
    return -round(score, 9), sum(map(abs, point)), point


def proposals(axes: Sequence[Axis], done: Mapping[Point, float], trials: int, refine: bool = False) -> list[Point]:
    """Return the points to try next, smallest first; they do not depend on each other. Empty when the search is over.

    First the centre and both neighbours on the first axis. An axis is left when the best point on it has two tried
    neighbours, or the limits of the axis; further ones follow from there. With ``refine``, what is left of the
    ``trials`` is spent on half steps along the axes in the same order, then on quarter and eighth steps.
    """
    for missing in _stages(axes, done, _WIDTHS if refine else _WIDTHS[:1]):
        if missing:
            return missing[: max(0, trials - len(done))]
    return []


def open_ends(axes: Sequence[Axis], done: Mapping[Point, float]) -> dict[str, str]:
    """Return why the value on an axis is not the result of the search, by the axis's name; empty if all are.

    ``given`` (the axis is pinned), ``not searched``, ``at the edge`` (a neighbour of the best value was not tried),
    ``at the limit`` (the axis ends there), or ``not identified`` (trials that differ on this axis alone have equal
    scores).
    """
    first = list(_stages(axes, done))
    found = {}
    for number, axis in enumerate(axes):
        if number >= len(first) or first[number]:
            tried = len({point[number] for point in done}) > 1
            found[axis.name] = "at the edge" if tried and number < len(first) else "not searched"
        elif _at_limit(axis, best(done)[number], {point[number] for point in done}):
            found[axis.name] = "at the limit"
        if axis.low == axis.high:
            found[axis.name] = "given"
        elif _indifferent(number, done):
            found[axis.name] = "not identified"
    return found


def _at_limit(axis: Axis, position: float, tried: set[float]) -> bool:
    """Whether nothing was tried on one side of a position because the axis ends there."""
    ends = ((min(tried), position - 1), (max(tried), position + 1))
    return any(end == position and not axis.allows(beyond) for end, beyond in ends)


def _indifferent(axis: int, done: Mapping[Point, float]) -> bool:
    """Whether trials that differ on one axis alone exist, and all of them have the same score."""
    lines: dict[Point, list[float]] = {}
    for point, score in done.items():
        lines.setdefault(_moved(point, axis, 0.0), []).append(round(score, 9))
    compared = [scores for scores in lines.values() if len(scores) > 1]
    return bool(compared) and all(len(set(scores)) == 1 for scores in compared)


def _stages(
    axes: Sequence[Axis], done: Mapping[Point, float], widths: Sequence[float] = (1.0,)
) -> Iterator[list[Point]]:
    """Yield the untried points that each stage needs next; the last stage yielded is the first that needs any.

    A stage walks along one axis, from a point to its better neighbour. It moves when both neighbours are known, so that
    the order in which trials finish has no influence.
    """
    here: Point = (0.0,) * len(axes)
    for width in widths:
        for number, axis in enumerate(axes):
            known: dict[Point, float] = {}
            while True:
                around = [_moved(here, number, here[number] + side * width) for side in (-1, 0, 1)]
                around = [point for point in around if axis.allows(point[number])]
                missing = [point for point in around if point not in done]
                if missing:
                    yield missing
                    return
                known |= {point: done[point] for point in around}
                if best(known) == here:
                    break
                here = best(known)
            yield []


def _moved(point: Point, axis: int, position: float) -> Point:
    return (*point[:axis], position, *point[axis + 1 :])
