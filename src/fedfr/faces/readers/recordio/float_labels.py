"""Recovery of whole numbers beyond 2^24 that RecordIO stores as float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["INEXACT", "exact_labels", "exact_ranges", "float32_preimage", "label_changes"]

INEXACT = 1 << 24
"""From here on a float32 stands for more than one whole number."""

Ints = NDArray[np.int64]


def float32_preimage(number: int) -> range:
    """Return the range of whole numbers that float32 rounds to ``number``."""
    if number < INEXACT:
        return range(number, number + 1)
    middle = np.float32(number)
    low, high = (int(np.nextafter(middle, np.float32(end))) for end in (0, np.inf))
    # A number halfway between two goes to the one with an even mantissa.
    first, last = (number + low + 1) // 2, (number + high) // 2
    return range(first + (np.float32(first) != middle), last + (np.float32(last) == middle))


def exact_ranges(firsts: Ints, lasts: Ints, keys: Ints, labels: Ints) -> tuple[Ints, Ints]:
    """For every identity record where its images begin and end among ``keys`` (N,), which ascend.

    ``firsts`` and ``lasts`` (R,) are keys as they were read. One that float32 may have rounded is taken for that key of
    those it can stand for at which the label changes; where there is none, as it is.
    """
    changed = np.flatnonzero(np.append(True, labels[1:] != labels[:-1])) if len(labels) else np.empty(0, np.int64)
    edges = np.append(keys[changed], keys[-1:] + 1)
    if len(edges) == len(firsts) + 1:
        # As many identities as records, one behind the other: each begins at an edge, where all round to what was read.
        starts, stops = edges[:-1].astype(np.float32), edges[1:].astype(np.float32)
        if (starts == firsts).all() and (stops == lasts).all():
            return changed, np.append(changed[1:], len(keys))
    return _placed(firsts, keys, edges), _placed(lasts, keys, edges)


def _placed(numbers: Ints, keys: Ints, edges: Ints) -> Ints:
    exact = numbers.copy()
    for place in np.flatnonzero(numbers >= INEXACT).tolist():
        possible = float32_preimage(int(numbers[place]))
        at = int(np.searchsorted(edges, possible.start))
        if at < len(edges) and edges[at] in possible:
            exact[place] = edges[at]
    return np.searchsorted(keys, exact)


def label_changes(labels: Ints, starts: Ints, stops: Ints) -> Ints:
    """Return the number of label changes within each range."""
    before = (
        np.append(0, np.cumsum(labels[1:] != labels[:-1])).astype(np.int64) if len(labels) else np.zeros(1, np.int64)
    )
    filled = stops > starts
    found = before[np.maximum(stops - 1, 0)] - before[np.minimum(starts, len(before) - 1)]
    return np.where(filled, found, 0)


def exact_labels(labels: Ints, numbers: Ints, starts: Ints, stops: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Labels (N,) that float32 may have rounded, by the identity record that spans each; and which are known then.

    The record with number k is of label k: where that rounds to what the images of its range say, they are k.
    """
    exact, known = labels.copy(), labels < INEXACT
    for number, start, stop in zip(numbers.tolist(), starts.tolist(), stops.tolist(), strict=True):
        if number >= INEXACT and (labels[start:stop] == int(np.float32(number))).all():
            exact[start:stop], known[start:stop] = number, True
    return exact, known
