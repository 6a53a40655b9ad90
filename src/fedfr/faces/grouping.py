"""The images of every identity, found by one sort for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["ByIdentity", "concatenated_ranges"]

Ints = NDArray[np.int64]


class ByIdentity:
    """Image indices by label, each ascending; of a set in the order of its labels it keeps only where each begins.

    ``counts`` (K,): images of each identity.
    """

    def __init__(self, labels: Ints, identities: int) -> None:
        self.counts: Ints = np.bincount(labels, minlength=identities).astype(np.int64)
        self._starts = np.cumsum(self.counts) - self.counts
        in_client_order = not len(labels) or bool((labels[1:] >= labels[:-1]).all())
        self._order: Ints | None = None if in_client_order else np.argsort(labels, kind="stable").astype(np.int64)

    def images(self, label: int, most: int | None = None) -> Ints:
        """Indices of one identity's images, ascending, of them the first ``most``."""
        start, count = int(self._starts[label]), int(self.counts[label])
        places = slice(start, start + (count if most is None else min(most, count)))
        return np.arange(places.start, places.stop) if self._order is None else self._order[places]

    def of(self, labels: Sequence[int] | Ints, first: Ints | int = 0, last: Ints | int | None = None) -> Ints:
        """Indices of the images of several identities, ascending; of each those from ``first`` to ``last`` - 1.

        Both are one number for all or one for each label.
        """
        chosen = np.asarray(labels, np.int64)
        counts = self.counts[chosen]
        low = np.minimum(first, counts)
        high = counts if last is None else np.minimum(last, counts)
        places = concatenated_ranges(self._starts[chosen] + low, np.maximum(high - low, 0))
        found = places if self._order is None else self._order[places]
        return np.sort(found)


def concatenated_ranges(starts: Ints, lengths: Ints) -> Ints:
    """``starts[i]``, ``starts[i] + 1``, … for ``lengths[i]`` numbers each, one range after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
