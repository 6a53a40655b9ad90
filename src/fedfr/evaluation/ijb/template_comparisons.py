"""1:1 verification of templates: the listed comparisons, millions of them among thousands of templates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedfr.core.errors import FedfrError
from fedfr.evaluation.array_inputs import as_array, as_features, as_flags, as_labels
from fedfr.evaluation.ijb.roc import insightface_tar
from fedfr.evaluation.metrics import MINIMUM_IMPOSTORS, Metric
from fedfr.evaluation.verification import tar_at_far

__all__ = ["comparison_scores", "verify_templates"]

ROWS = 512
# Lengths that differ from one by less are taken for one: scaling them again would change the last bits.
UNIT_TOLERANCE = 1e-6


def verify_templates(
    templates: ArrayLike,
    left: ArrayLike,
    right: ArrayLike,
    same: ArrayLike,
    fars: Sequence[float],
    *,
    minimum_impostors: int = MINIMUM_IMPOSTORS,
) -> list[Metric]:
    """Return TAR at every FAR over listed comparisons of templates: exactly, then as InsightFace's ijb_11.py reads it.

    ``templates`` (T, D), for instance from :func:`media_templates`; ``left`` and ``right`` (P,) are rows of it,
    ``same`` (P,) bool marks genuine comparisons. Raises :class:`FedfrError` for NaN, other shapes, rows outside of the
    templates, and rates outside 0 … 1.

    >>> from fedfr.evaluation import verify_templates
    >>> templates = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]
    >>> found = verify_templates(templates, [0, 0, 1], [1, 2, 2], [True, False, False], [0.5], minimum_impostors=1)
    >>> for metric in found:
    ...     print(metric.name, metric.value, metric.threshold)
    TAR@FAR=5e-1 1.0 0.0
    TAR(insightface)@FAR=5e-1 1.0 0.0
    """
    unit = _unit(as_features(templates, "templates"))
    genuine = as_flags(same, as_array(same, "same").size, "same")
    sides = [as_labels(rows, len(genuine), what) for rows, what in ((left, "left"), (right, "right"))]
    for rows, what in zip(sides, ("left", "right"), strict=True):
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(unit):
            raise FedfrError(f"{what} has rows outside 0 … {len(unit) - 1}, those of the templates")
    scores = comparison_scores(unit, *sides)
    exact = tar_at_far(scores[genuine], scores[~genuine], fars, minimum_impostors=minimum_impostors)
    return [*exact, *insightface_tar(scores, genuine, fars, minimum_impostors=minimum_impostors)]


def comparison_scores(
    templates: NDArray[np.float64], left: NDArray[np.integer[Any]], right: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Return the cosines (P,) of the listed rows of ``templates`` (T, D), which have length one.

    Computed as products of ``ROWS`` left templates with all right ones that they are compared with: each template of
    these lists is in hundreds of comparisons, and reading its feature for each of them would take far longer.
    """
    scores = np.empty(len(left))
    lefts, left_places = _distinct(left, len(templates))
    for start in range(0, len(lefts), ROWS):
        chosen = np.flatnonzero((left_places >= start) & (left_places < start + ROWS))
        rights, right_places = _distinct(right[chosen], len(templates))
        product = templates[lefts[start : start + ROWS]] @ templates[rights].T
        scores[chosen] = product[left_places[chosen] - start, right_places]
    return scores


def _unit(templates: NDArray[Any]) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = templates.astype(np.float64, copy=False)
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        row = int(np.argmin(np.isfinite(lengths)))
        raise FedfrError(f"templates row {row} has no finite length; the model that made it is damaged")
    if (np.abs(lengths - 1) <= UNIT_TOLERANCE)[lengths > 0].all():
        return rows
    return rows / np.where(lengths > 0, lengths, 1)


def _distinct(rows: NDArray[np.integer[Any]], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which of ``count`` rows occur, ascending, and for each given row its place among them; without sorting."""
    occurs = np.zeros(count, np.bool_)
    occurs[rows] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[rows]
