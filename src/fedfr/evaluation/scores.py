"""Exact order statistics over more scores than fit in memory, by counting a stream instead of sorting.

A float32 is split into its upper and lower 16 bits. One pass counts the scores with each upper half (the *coarse*
counts); in the few upper halves that contain a threshold it also counts every lower half (the *fine* counts). Together
they give the exact score of any rank. The upper halves that contain the thresholds are estimated from a sample, and
scores below all of them are dropped uncounted, since a rank from the top does not depend on them. If the counts show
the estimate to be wrong, further passes with the right upper halves follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["OperatingPoint", "ScoreBlock", "ScoreStream", "likely_bins", "operating_points"]

HALF = 1 << 16
CHUNK = 1 << 19
MOST_BINS = 256
# Upper halves from the highest score to the lowest: positive numbers grow with their bits, negative ones fall.
DESCENDING = np.concatenate([np.arange(HALF // 2 - 1, -1, -1), np.arange(HALF // 2, HALF)])
POSITION = np.argsort(DESCENDING)

Scores = NDArray[np.float32]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class ScoreBlock:
    """One block of scores: impostor scores are ``scores`` (any shape) without one occurrence of each ``removed``.

    The arrays are valid only until the next block is requested.
    """

    scores: Scores
    removed: Scores
    genuine: Scores


ScoreStream = Callable[[], Iterable[ScoreBlock]]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and the number of genuine scores strictly above it."""

    threshold: float
    accepted: int


def operating_points(stream: ScoreStream, ranks: Sequence[int], guess: Sequence[int] = ()) -> list[OperatingPoint]:
    """Return for every 0-based rank from the top the impostor score and the number of genuine scores above it.

    ``stream`` is called once per pass and must give the same scores each time; ``guess`` holds upper halves (see
    :func:`likely_bins`) and affects only the number of passes. Raises ValueError if a rank is out of range.
    """
    if not ranks:
        return []
    wanted = sorted(set(guess))[:MOST_BINS]
    while True:
        impostor, genuine = _HalfCounts(wanted), _HalfCounts(wanted)
        for block in stream():
            impostor.add(block.scores, 1)
            impostor.add(block.removed, -1)
            genuine.add(block.genuine, 1)
        needed = [upper for upper in map(impostor.bin_of, ranks) if upper is not None]
        if len(needed) < len(ranks):
            wanted = []  # a rank is among the dropped scores: the next pass drops none
        elif set(needed) <= set(wanted):
            return [_operating_point(impostor, genuine, *each) for each in zip(ranks, needed, strict=True)]
        else:
            wanted = sorted(set(needed))


def likely_bins(sample: Scores, ranks: Sequence[int], total: int) -> list[int]:
    """Return the upper halves that probably contain the scores of these ranks among ``total``, from a sample."""
    ordered = np.sort(sample)[::-1]
    bins: set[int] = set()
    for rank in ranks if len(ordered) else ():
        centre = rank / total * len(ordered)
        slack = 10 * math.sqrt(centre) + 10
        edges = [ordered[max(0, int(centre - slack))], ordered[min(len(ordered) - 1, int(centre + slack))]]
        first, last = POSITION[_upper(np.asarray(edges, np.float32))]
        # Scores may be higher than the highest of the sample.
        first -= 64 if centre < slack else 0
        bins.update(DESCENDING[max(0, first) : last + 1].tolist())
    return sorted(bins) if len(bins) <= MOST_BINS else []


class _HalfCounts:
    """Counts of scores with each upper half and, in the wanted upper halves, with each lower half.

    Scores below every wanted upper half are dropped; only their number is known.
    """

    def __init__(self, wanted: Sequence[int]) -> None:
        self.total = 0
        self._lowest_wanted = _lowest_wanted(wanted)
        self.coarse: Counts = np.zeros(HALF, np.int64)
        self.fine: Counts = np.zeros((len(wanted), HALF), np.int64)
        self._slot: Counts = np.full(HALF, -1, np.int64)
        self._slot[list(wanted)] = np.arange(len(wanted))
        self._is_wanted = self._slot >= 0

    def add(self, scores: Scores, weight: int) -> None:
        flat = scores.reshape(-1)
        self.total += weight * flat.size
        for start in range(0, flat.size, CHUNK):
            part = flat[start : start + CHUNK]
            self._count(part if self._lowest_wanted is None else part.compress(part >= self._lowest_wanted), weight)

    def _count(self, scores: Scores, weight: int) -> None:
        # Adding zero turns -0.0 into 0.0: equal scores must have equal bits.
        bits = (scores + np.float32(0)).view(np.uint32)
        upper = (bits >> 16).astype(np.intp)
        self.coarse += weight * np.bincount(upper, minlength=HALF)
        hits = np.flatnonzero(self._is_wanted.take(upper))
        if hits.size:
            lower = (bits.take(hits) & (HALF - 1)).astype(np.int64)
            np.add.at(self.fine.reshape(-1), self._slot.take(upper.take(hits)) * HALF + lower, weight)

    def bin_of(self, rank: int) -> int | None:
        """Return the upper half of the score with this rank from the top; None if it is among the dropped scores."""
        if not 0 <= rank < self.total:
            raise ValueError(f"rank {rank} of {self.total} scores")
        above = np.cumsum(self.coarse[DESCENDING])
        if rank >= above[-1]:
            return None
        return int(DESCENDING[np.searchsorted(above, rank, side="right")])

    def above_bin(self, upper: int) -> int:
        """Return the number of scores in the bins above this one."""
        return int(self.coarse[DESCENDING[: POSITION[upper]]].sum())

    def within(self, upper: int) -> Counts:
        """Return the counts for every lower half of this bin, highest score first."""
        counts: Counts = self.fine[self._slot[upper]]
        return counts[::-1] if upper < HALF // 2 else counts


def _operating_point(impostor: _HalfCounts, genuine: _HalfCounts, rank: int, upper: int) -> OperatingPoint:
    place = int(np.searchsorted(np.cumsum(impostor.within(upper)), rank - impostor.above_bin(upper), side="right"))
    lower = HALF - 1 - place if upper < HALF // 2 else place
    threshold = np.array([upper << 16 | lower], np.uint32).view(np.float32)[0]
    accepted = genuine.above_bin(upper) + int(genuine.within(upper)[:place].sum())
    return OperatingPoint(float(threshold), accepted)


def _lowest_wanted(wanted: Sequence[int]) -> np.float32 | None:
    """Return the lowest score in any of these upper halves; None if there are none, or it is NaN."""
    if not wanted:
        return None
    upper = int(DESCENDING[POSITION[list(wanted)].max()])
    lower = 0 if upper < HALF // 2 else HALF - 1
    edge: np.float32 = np.array([upper << 16 | lower], np.uint32).view(np.float32)[0]
    return None if np.isnan(edge) else edge


def _upper(scores: Scores) -> Counts:
    return ((scores + np.float32(0)).view(np.uint32) >> 16).astype(np.int64)
