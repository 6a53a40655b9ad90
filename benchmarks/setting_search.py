"""Search of a method's settings in a fixed number of trials: one axis after the other, each bracketed.

A trial is a point: one position per axis, 0 for the centre. The search is a function of the finished trials, so that it
can be interrupted, and repeated from its record.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Axis", "Point", "best", "open_ends", "proposals"]

Point = tuple[float, ...]
# Positions are multiples of this, exact in binary.
_FINEST = 1 / 8


@dataclass(frozen=True)
class Axis:
    """A setting that is searched: a step from ``centre`` multiplies by ``factor`` or, where it is 0, adds ``step``.

    ``low`` and ``high`` are the least and the largest value that are tried.
    """

    name: str
    centre: float
    factor: float = 0.0
    step: float = 0.0
    low: float = -math.inf
    high: float = math.inf

    def value(self, position: float) -> float:
        """Return the setting at a position, rounded to four significant digits."""
        value = self.centre * self.factor**position if self.factor else self.centre + self.step * position
        return float(f"{value:.4g}")

    def position(self, value: float) -> float:
        """Return the position of a setting that :meth:`value` returned."""
        steps = math.log(value / self.centre, self.factor) if self.factor else (value - self.centre) / self.step
        return round(steps / _FINEST) * _FINEST

    def allows(self, position: float) -> bool:
        """Whether a position is within the limits."""
        return self.low <= self.value(position) <= self.high


def best(scores: Mapping[Point, float]) -> Point:
    """Return the point with the highest score; of equal ones that with the smaller settings, first axis first."""
    return min(scores, key=lambda point: (-round(scores[point], 9), point))


def proposals(axes: Sequence[Axis], done: Mapping[Point, float], trials: int) -> list[Point]:
    """Return the points to try next, smallest first; they do not depend on each other. Empty when the search is over.

    First the centre and both neighbours on the first axis. An axis is left when the best point on it has two tried
    neighbours, or the limits of the axis; further ones follow from there. What is left of the ``trials`` refines the
    axes in the same order by half steps, then by quarter steps.
    """
    for missing in _stages(axes, done):
        if missing:
            return missing[: max(0, trials - len(done))]
    return []


def open_ends(axes: Sequence[Axis], done: Mapping[Point, float]) -> dict[str, str]:
    """Return why an axis is not bracketed, by its name: ``at the edge`` or ``not searched``; empty if all are."""
    first = list(_stages(axes, done))[: len(axes)]
    found = {}
    for number, axis in enumerate(axes):
        if number >= len(first) or first[number]:
            tried = len({point[number] for point in done}) > 1
            found[axis.name] = "at the edge" if tried and number < len(first) else "not searched"
    return found


def _stages(axes: Sequence[Axis], done: Mapping[Point, float]) -> Iterator[list[Point]]:
    """Yield the untried points that each stage needs next; the last stage yielded is the first that needs any.

    A stage walks along one axis, from a point to its better neighbour. It moves when both neighbours are known, so that
    the order in which trials finish has no influence.
    """
    here: Point = (0.0,) * len(axes)
    for width in (1.0, 0.5, 0.25):
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
