"""Grouping of images by identity with a single sort."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["ByIdentity", "concatenated_ranges"]

Ints = NDArray[np.int64]


class ByIdentity:
    """Image indices by label, each ascending; ``counts`` (K,) is the number of images of each identity.

    For a set sorted by label only the start of each identity is stored.
    """

    def __init__(self, labels: Ints, identities: int) -> None:
        self.counts: Ints = np.bincount(labels, minlength=identities).astype(np.int64)
        self._starts = np.cumsum(self.counts) - self.counts
        is_sorted = not len(labels) or bool((labels[1:] >= labels[:-1]).all())
        self._order: Ints | None = None if is_sorted else np.argsort(labels, kind="stable").astype(np.int64)

    def images(self, label: int, limit: int | None = None) -> Ints:
        """Return the indices of one identity's images, ascending; at most the first ``limit``."""
        start, count = int(self._starts[label]), int(self.counts[label])
        places = slice(start, start + (count if limit is None else min(limit, count)))
        return np.arange(places.start, places.stop) if self._order is None else self._order[places]

    def of(self, labels: Sequence[int] | Ints, first: Ints | int = 0, last: Ints | int | None = None) -> Ints:
        """Return the indices of the images of several identities, ascending.

        Of each identity the images ``first`` to ``last`` - 1 are taken; both are one number for all or one number per
        label.
        """
        chosen = np.asarray(labels, np.int64)
        counts = self.counts[chosen]
        low = np.minimum(first, counts)
        high = counts if last is None else np.minimum(last, counts)
        places = concatenated_ranges(self._starts[chosen] + low, np.maximum(high - low, 0))
        indices = places if self._order is None else self._order[places]
        return np.sort(indices)


def concatenated_ranges(starts: Ints, lengths: Ints) -> Ints:
    """Concatenate the ranges ``starts[i]`` … ``starts[i] + lengths[i] - 1``."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))
