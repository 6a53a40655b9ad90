"""All comparisons of a client's own images with every image, computed in blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedfr.evaluation.array_inputs import as_flags, as_labels
from fedfr.evaluation.score_normalization import cohort_statistics
from fedfr.evaluation.scores import ScoreBlock
from fedfr.evaluation.unit_features import normalize

__all__ = ["OwnPairs"]

BLOCK = (2048, 2048)
SAMPLE_ROWS, SAMPLE_COLUMNS = 1024, 4096

Indices = NDArray[np.int64]


class OwnPairs:
    """Unordered pairs of images of which at least one is the client's own; pairs of one label are genuine.

    ``features`` (N, D) of any length, ``labels`` (N,) integers, ``own`` (N,) bool. With M own images these are
    M(M-1)/2 + M(N-M) pairs, scored by the cosine; a ``cohort`` (C, D) of features normalizes the scores
    (:mod:`fedfr.evaluation.score_normalization`). Memory: one float32 copy of the features (two while they are sorted)
    and one block.
    """

    def __init__(
        self,
        features: ArrayLike,
        labels: ArrayLike,
        own: ArrayLike,
        *,
        cohort: ArrayLike | None = None,
        block: tuple[int, int] = BLOCK,
    ) -> None:
        normalized = normalize(features)
        numbers = as_labels(labels, len(normalized))
        is_own = as_flags(own, len(normalized), "own")
        # Own images first, both groups sorted by label: the genuine partners of a row are then two runs of columns.
        order = np.lexsort((numbers, ~is_own))
        self._features = normalized[order]
        del normalized
        self._labels = numbers[order]
        self._own = int(is_own.sum())
        self._norm = None if cohort is None else cohort_statistics(self._features, cohort)
        self._block = block
        own, others = self._labels[: self._own], self._labels[self._own :]
        self._own_stop = np.searchsorted(own, own, side="right")
        self._others_start = self._own + np.searchsorted(others, own, side="left")
        self._others_stop = self._own + np.searchsorted(others, own, side="right")
        rows = np.arange(self._own)
        self.genuine = int((self._own_stop - rows - 1 + self._others_stop - self._others_start).sum())
        self.impostor = self._own * (self._own - 1) // 2 + self._own * (len(numbers) - self._own) - self.genuine

    def blocks(self) -> Iterator[ScoreBlock]:
        """Yield the scores of every pair once; in sorted order row i is compared with the columns after it."""
        for rows, left, right, scores in self._tiles():
            mirrored = _runs(np.zeros_like(rows), rows + 1, left, right)
            genuine = np.concatenate(
                [
                    _runs(rows + 1, self._own_stop[rows], left, right),
                    _runs(self._others_start[rows], self._others_stop[rows], left, right),
                ]
            )
            flat = scores.reshape(-1)
            genuine_scores = flat.take(genuine)
            yield ScoreBlock(scores, np.concatenate([flat.take(mirrored), genuine_scores]), genuine_scores)

    def above(self, threshold: float) -> Iterator[tuple[Indices, Indices, NDArray[np.float32]]]:
        """Yield the pairs that score above ``threshold``: the labels of their two images and their scores."""
        for rows, left, right, scores in self._tiles():
            row, column = np.nonzero(scores > np.float32(threshold))
            once = left + column > rows[row]
            row, column = row[once], column[once]
            yield self._labels[rows[row]], self._labels[left:right][column], scores[row, column]

    def pairs_by_label(self) -> tuple[Indices, Indices, Indices]:
        """Return the labels in ascending order and, for each, its genuine pairs and the impostor pairs it is in."""
        labels, which = np.unique(self._labels, return_inverse=True)
        own = np.bincount(which[: self._own], minlength=len(labels))
        others = np.bincount(which[self._own :], minlength=len(labels))
        genuine = own * (own - 1) // 2 + own * others
        impostor = own * (len(which) - own - others) + others * (self._own - own)
        return labels, genuine, impostor

    def _tiles(self) -> Iterator[tuple[Indices, int, int, NDArray[np.float32]]]:
        """Yield own rows, the first and last column, and their scores, which include pairs on and below the diagonal.

        The scores are valid only until the next tile is requested.
        """
        count = len(self._labels)
        height, width = min(self._block[0], self._own), min(self._block[1], count)
        buffer = np.empty(height * width, np.float32)
        for top in range(0, self._own, max(1, height)):
            rows = np.arange(top, min(top + height, self._own))
            for left in range(top, count, width):
                right = min(left + width, count)
                scores = buffer[: len(rows) * (right - left)].reshape(len(rows), right - left)
                np.matmul(self._features[rows[0] : rows[-1] + 1], self._features[left:right].T, out=scores)
                if self._norm is not None:
                    self._norm[rows[0] : rows[-1] + 1].apply(self._norm[left:right], scores)
                yield rows, left, right, scores

    def sample(self) -> NDArray[np.float32]:
        """Return the impostor scores of evenly spaced images, a few million at most."""
        rows = _spread(self._own, SAMPLE_ROWS)
        columns = _spread(len(self._labels), SAMPLE_COLUMNS)
        scores = self._features[rows] @ self._features[columns].T
        if self._norm is not None:
            self._norm[rows].apply(self._norm[columns], scores)
        wanted = (rows[:, None] < columns) & (self._labels[rows][:, None] != self._labels[columns])
        chosen: NDArray[np.float32] = scores[wanted]
        return chosen


def _runs(starts: Indices, stops: Indices, left: int, right: int) -> Indices:
    """Return flat indices, in a block of the columns left..right, of row k's columns starts[k]..stops[k]."""
    starts = np.clip(starts, left, right)
    lengths = np.maximum(np.clip(stops, left, right) - starts, 0)
    rows = np.repeat(np.arange(len(starts)), lengths)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    flat: Indices = rows * (right - left) + starts[rows] - left + within
    return flat


def _spread(count: int, most: int) -> Indices:
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64)) if count else np.arange(0)
