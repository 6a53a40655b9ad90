"""Scores of millions of listed comparisons among thousands of templates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.readers.ijb import TemplatePairs

__all__ = ["pair_scores"]

ROWS = 512


def pair_scores(templates: NDArray[np.float64], pairs: TemplatePairs) -> NDArray[np.float64]:
    """Cosines (P,) of the listed templates, which (T, D) have length one.

    Computed as products of ``ROWS`` left templates with all right ones that they are compared with: each template of
    these lists is in hundreds of comparisons, and reading its feature for each of them would take far longer.
    """
    scores = np.empty(len(pairs))
    lefts, left_places = _distinct(pairs.left, len(templates))
    for start in range(0, len(lefts), ROWS):
        chosen = np.flatnonzero((left_places >= start) & (left_places < start + ROWS))
        rights, right_places = _distinct(pairs.right[chosen], len(templates))
        product = templates[lefts[start : start + ROWS]] @ templates[rights].T
        scores[chosen] = product[left_places[chosen] - start, right_places]
    return scores


def _distinct(rows: NDArray[np.int32], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of ``count`` rows occur, ascending, and for each given one its place among them; without sorting."""
    occurs = np.zeros(count, np.bool_)
    occurs[rows] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[rows]
