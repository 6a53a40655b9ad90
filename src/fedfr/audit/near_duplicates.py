"""Images that are nearly the same: groups by the correlation of their small grey versions, mirrored ones too.

Only what both show is compared: warping leaves black corners where a photograph ends, which are alike in the images
of everybody.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["COMMON", "NEAR", "likeness", "near_duplicate_groups"]

NEAR = 0.98
"""Correlation from which on two images are the same one (docs/faces.md says how it was chosen)."""

BLOCK = 2048
LEAST_CONTRAST = 4.0
COMMON = 0.95
"""The same over what both of two images show, where they do not show everything: less is left to tell them by."""

LEAST_COMMON = 0.2
"""Share of the image that two must have in common to be compared."""

PAIRS = 1 << 14

Descriptors = NDArray[np.float32]
Small = NDArray[np.uint8]
Shown = NDArray[np.bool_]


def _descriptors(small: Small) -> Descriptors:
    """Rows of mean 0 and length 1, (N, 256), as the sums and differences of each image and its mirror image.

    ``u·v`` over all 256 is the correlation of two images; with the last 128 negated, of one and the other's mirror.
    An image without contrast is a row of zeros and like nothing.
    """
    planes = small.astype(np.float32)
    planes -= planes.mean(axis=(1, 2), keepdims=True)
    flat = planes.std(axis=(1, 2)) < LEAST_CONTRAST
    left, right = planes[:, :, : small.shape[2] // 2], planes[:, :, : small.shape[2] // 2 - 1 : -1]
    rows = np.concatenate([left + right, left - right], axis=1).reshape(len(small), -1 if len(small) else 0)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(lengths > 0, lengths, 1)
    rows[flat] = 0
    return rows


def likeness(small: Small, shown: Shown | None = None) -> NDArray[np.float32]:
    """Correlation (n, n) of every two small images (n, 16, 16) uint8, or of one and the other's mirror if greater.

    ``shown`` (n, 16, 16): what was photographed of each, everything when left out; of two images only what both show
    is compared.
    """
    first, second = np.divmod(np.arange(len(small) ** 2), max(len(small), 1))
    whole = np.ones(small.shape, np.bool_) if shown is None else shown
    return _of_pairs(small, whole, first, second).reshape(len(small), len(small))


def _of_pairs(small: Small, shown: Shown, first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float32]:
    """:func:`likeness` of some pairs."""
    found = np.empty(len(first), np.float32)
    for start in range(0, len(first), PAIRS):
        one, other = first[start : start + PAIRS], second[start : start + PAIRS]
        straight = _common(small[one], shown[one], small[other], shown[other])
        mirrored = _common(small[one], shown[one], small[other][:, :, ::-1], shown[other][:, :, ::-1])
        found[start : start + PAIRS] = np.maximum(straight, mirrored)
    return found


def _common(one: Small, shown: Shown, other: Small, others: Shown) -> NDArray[np.float32]:
    """Correlations (n,) over what both show; 0 where that is too little, or without contrast."""
    both = (shown & others).reshape(len(one), -1).astype(np.float32)
    counts = np.maximum(both.sum(axis=1), 1)
    planes = []
    for each in (one, other):
        plane = each.reshape(len(one), -1).astype(np.float32)
        plane -= ((plane * both).sum(axis=1) / counts)[:, None]
        planes.append(plane * both)
    deviations = [np.sqrt((plane * plane).sum(axis=1) / counts) for plane in planes]
    products = (planes[0] * planes[1]).sum(axis=1) / counts
    compared = (both.mean(axis=1) >= LEAST_COMMON) & (np.minimum(*deviations) >= LEAST_CONTRAST)
    return np.where(compared, products / np.maximum(deviations[0] * deviations[1], 1e-6), 0).astype(np.float32)


def _greater(same: Any, unlike: Any, others_same: Any, others_unlike: Any) -> NDArray[np.float32]:
    products: NDArray[np.float32] = unlike @ others_unlike.T
    np.abs(products, out=products)
    products += same @ others_same.T
    return products


def near_duplicate_groups(small: Small, shown: Shown | None = None, threshold: float = NEAR) -> list[list[int]]:
    """Groups of two or more images linked by a correlation of at least ``threshold``, ascending.

    Of all pairs, in blocks: memory grows with the images, a kilobyte each, time with their square. Where a part of a
    image is not ``shown``, two have to be alike as a whole and in what both show.
    """
    whole = np.ones(small.shape, np.bool_) if shown is None else shown
    rows = np.empty((len(small), small.shape[1] * small.shape[2]), np.float32)
    for first in range(0, len(rows), BLOCK):
        rows[first : first + BLOCK] = _descriptors(small[first : first + BLOCK])
    partly = np.asarray(~whole.all(axis=(1, 2)))
    half = rows.shape[1] // 2
    same, unlike = rows[:, :half], rows[:, half:]
    parent = np.arange(len(rows))
    for first in range(0, len(rows), BLOCK):
        for second in range(first, len(rows), BLOCK):
            products = _greater(
                same[first : first + BLOCK],
                unlike[first : first + BLOCK],
                same[second : second + BLOCK],
                unlike[second : second + BLOCK],
            )
            found = np.argwhere(products >= threshold) + np.array([first, second])
            one, other = found[:, 0], found[:, 1]
            # Corners that are alike in everybody's images make such pairs; what both show is compared alone.
            alike: NDArray[np.bool_] = np.less(one, other)
            unsure = alike & (partly[one] | partly[other])
            alike[unsure] = _of_pairs(small, whole, one[unsure], other[unsure]) >= COMMON
            for row, column in zip(one[alike].tolist(), other[alike].tolist(), strict=True):
                root, another = _root(parent, row), _root(parent, column)
                parent[max(root, another)] = min(root, another)
    members: dict[int, list[int]] = {}
    for index in range(len(rows)):
        members.setdefault(_root(parent, index), []).append(index)
    return [group for group in members.values() if len(group) > 1]


def _root(parent: NDArray[np.int64], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = int(parent[index])
    return index
