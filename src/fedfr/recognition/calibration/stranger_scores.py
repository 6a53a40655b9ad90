"""Strangers compared with a gallery: the two most similar people of each, and a verification threshold per person."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from fedfr.evaluation.score_normalization import CohortStatistics
from fedfr.recognition.calibration.provable_rates import GRID, LARGEST_ON_GRID

__all__ = ["Compared", "StrangerScores", "compare", "template_digests", "update"]

NOBODY = -1
BLOCK = 1 << 22

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Compared:
    """Templates (K, D) and strangers (S, D) of unit length; with AS-norm, the cohort's statistics of both."""

    templates: Floats
    strangers: Floats
    norms: tuple[CohortStatistics, CohortStatistics] | None = None

    def scores(self, templates: Rows | slice, strangers: Rows | slice) -> Floats:
        """Return the scores of some templates (rows) with some strangers (columns)."""
        found: Floats = self.templates[templates] @ self.strangers[strangers].T
        if self.norms is not None:
            self.norms[0][templates].apply(self.norms[1][strangers], found)
        return found


@dataclass(frozen=True)
class StrangerScores:
    """For every stranger the two highest scores (2, S) and whose they are (2, S), rows of the gallery or -1.

    ``verify`` (K,) are the thresholds of the templates, ``passing`` (K,) the strangers above each.
    """

    best: Floats
    rows: Rows
    verify: NDArray[np.float64]
    passing: Rows


def compare(given: Compared, rank: int) -> StrangerScores:
    """Compare all strangers with all templates; ``rank`` is the rank of the threshold among the strangers' scores."""
    best, rows = _nothing(len(given.strangers))
    everyone = np.arange(len(given.templates))
    verify, passing = _columns(given, everyone, rank, best, rows)
    return StrangerScores(best, rows, verify, passing)


def update(given: Compared, rank: int, before: StrangerScores, places: Rows) -> StrangerScores:
    """Return what :func:`compare` returns, from the scores of an earlier gallery.

    ``places`` (K,) is the row of every template in the earlier gallery, -1 for a new or changed template. Only new
    templates are compared with all strangers, and all templates with those strangers whose most similar people are no
    longer there.
    """
    earlier = np.full(len(before.verify) + 1, NOBODY)  # the last place answers for -1
    kept = np.flatnonzero(places != NOBODY)
    earlier[places[kept]] = kept
    best, rows = before.best.copy(), earlier[before.rows]
    # Somebody of the best two is missing: all others must be searched for the person who takes the place.
    lost = np.flatnonzero(((rows == NOBODY) & (before.rows != NOBODY)).any(axis=0))
    fresh = np.flatnonzero(places == NOBODY)
    verify, passing = np.empty(len(places)), np.empty(len(places), np.int64)
    verify[kept], passing[kept] = before.verify[places[kept]], before.passing[places[kept]]
    verify[fresh], passing[fresh] = _columns(given, fresh, rank, best, rows)
    if len(lost):
        best[:, lost], rows[:, lost] = _nothing(len(lost))
        for part in _parts(np.arange(len(given.templates)), len(lost)):
            found = _two_best(given.scores(part, lost), part)
            best[:, lost], rows[:, lost] = _merge((best[:, lost], rows[:, lost]), found)
    return StrangerScores(best, rows, verify, passing)


def template_digests(templates: Floats) -> list[str]:
    """Return a short hash of every template, by which a changed one is noticed."""
    return [blake2b(row.tobytes(), digest_size=8).hexdigest() for row in templates]


def _columns(given: Compared, chosen: Rows, rank: int, best: Floats, rows: Rows) -> tuple[NDArray[np.float64], Rows]:
    """Return threshold and strangers above it of chosen templates; update the two highest scores in place."""
    thresholds, passing = [np.empty(0)], [np.empty(0, np.int64)]
    place = len(given.strangers) - rank
    for part in _parts(chosen, len(given.strangers)):
        scores = given.scores(part, slice(None))
        values = _above_grid(np.partition(scores, place, axis=1)[:, place].astype(np.float64))
        thresholds.append(values)
        passing.append((scores > values[:, None]).sum(axis=1))
        best[:], rows[:] = _merge((best, rows), _two_best(scores, part))
    return np.concatenate(thresholds), np.concatenate(passing)


def _parts(rows: Rows, strangers: int) -> list[Rows]:
    step = max(1, BLOCK // max(1, strangers))
    return [rows[start : start + step] for start in range(0, len(rows), step)]


def _nothing(strangers: int) -> tuple[Floats, Rows]:
    return np.full((2, strangers), -np.inf, np.float32), np.full((2, strangers), NOBODY, np.int64)


def _two_best(scores: Floats, rows: Rows) -> tuple[Floats, Rows]:
    """Return the two highest scores of every column and the rows they are in; ``scores`` is overwritten."""
    best, places = _nothing(scores.shape[1])
    columns = np.arange(scores.shape[1])
    for rank in range(min(2, len(rows))):
        place = scores.argmax(axis=0)
        best[rank], places[rank] = scores[place, columns], rows[place]
        scores[place, columns] = -np.inf
    return best, places


def _merge(one: tuple[Floats, Rows], other: tuple[Floats, Rows]) -> tuple[Floats, Rows]:
    scores, rows = np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])
    order = np.argsort(-scores, axis=0, kind="stable")[:2]
    return np.take_along_axis(scores, order, 0), np.take_along_axis(rows, order, 0)


def _above_grid(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return :func:`~fedfr.recognition.calibration.provable_rates.above_grid` of many scores."""
    return np.where(np.abs(scores) <= LARGEST_ON_GRID, np.ceil(scores * GRID + 0.5) / GRID, scores)
