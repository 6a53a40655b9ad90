"""Recovery of whole numbers beyond 2^24 that RecordIO stores as float32."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["INEXACT", "exact_labels", "exact_ranges", "float32_preimage", "label_changes"]

INEXACT = 1 << 24
"""Lowest whole number that is not the only one that float32 rounds to its value."""

Ints = NDArray[np.int64]


def float32_preimage(number: int) -> range:
    """Return the range of whole numbers that float32 rounds to ``number``."""
    if number < INEXACT:
        return range(number, number + 1)
    middle = np.float32(number)
    low, high = (int(np.nextafter(middle, np.float32(end))) for end in (0, np.inf))
    # Ties are rounded to the number with an even mantissa.
    first, last = (number + low + 1) // 2, (number + high) // 2
    return range(first + (np.float32(first) != middle), last + (np.float32(last) == middle))


def exact_ranges(firsts: Ints, lasts: Ints, keys: Ints, labels: Ints) -> tuple[Ints, Ints]:
    """Return for every identity record the start and stop (R,) of its images in ``keys`` (N,), which ascend.

    ``firsts`` and ``lasts`` (R,) are the keys as read. A key that float32 may have rounded is replaced by the key at
    which the label changes among those that round to it; if there is none, it is used as read.
    """
    changed = np.flatnonzero(np.append(True, labels[1:] != labels[:-1])) if len(labels) else np.empty(0, np.int64)
    edges = np.append(keys[changed], keys[-1:] + 1)
    if len(edges) == len(firsts) + 1:
        # As many identities as records, each adjacent to the next: all begin where labels change, if that fits float32.
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
    """Return labels (N,) recovered from the identity records that span them, and a mask (N,) of those that are exact.

    Identity record k belongs to label k: if float32 rounds k to the labels of all images in its range, these are k.
    """
    exact, known = labels.copy(), labels < INEXACT
    for number, start, stop in zip(numbers.tolist(), starts.tolist(), stops.tolist(), strict=True):
        if number >= INEXACT and (labels[start:stop] == int(np.float32(number))).all():
            exact[start:stop], known[start:stop] = number, True
    return exact, known
