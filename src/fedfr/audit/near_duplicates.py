"""Near-duplicate images: groups by the correlation of their grey thumbnails, mirrored ones included.

Only cells that are photographed in both images are compared: warping leaves black corners beyond the border of a
photograph, and these are equal in images of different people.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIN_CORRELATION", "MIN_OVERLAP_CORRELATION", "near_duplicate_groups", "pair_correlations"]

MIN_CORRELATION = 0.98
"""Correlation from which two images count as the same (docs/faces.md explains the choice)."""

BLOCK = 2048
MIN_CONTRAST = 4.0
MIN_OVERLAP_CORRELATION = 0.95
"""The same over the common photographed cells, for images that are not photographed completely."""

MIN_OVERLAP = 0.2
"""Share of cells that two images must have in common to be compared."""

PAIRS = 1 << 14

Descriptors = NDArray[np.float32]
Thumbnails = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def _descriptors(thumbnails: Thumbnails) -> Descriptors:
    """Return rows (N, 256) of mean 0 and length 1: the sums and differences of each thumbnail and its mirror image.

    The inner product of two rows is the correlation of the two images; with the last 128 entries of one negated, that
    of one and the mirror image of the other. An image without contrast is a row of zeros, which matches nothing.
    """
    planes = thumbnails.astype(np.float32)
    planes -= planes.mean(axis=(1, 2), keepdims=True)
    flat = planes.std(axis=(1, 2)) < MIN_CONTRAST
    left, right = planes[:, :, : thumbnails.shape[2] // 2], planes[:, :, : thumbnails.shape[2] // 2 - 1 : -1]
    rows = np.concatenate([left + right, left - right], axis=1).reshape(len(thumbnails), -1 if len(thumbnails) else 0)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(lengths > 0, lengths, 1)
    rows[flat] = 0
    return rows


def pair_correlations(thumbnails: Thumbnails, content: Mask | None = None) -> NDArray[np.float32]:
    """Return the correlations (n, n) of thumbnails (n, 16, 16) uint8, the greater of direct and mirrored.

    ``content`` (n, 16, 16) masks the photographed cells, by default all; only cells common to both images are compared.
    """
    first, second = np.divmod(np.arange(len(thumbnails) ** 2), max(len(thumbnails), 1))
    masks = np.ones(thumbnails.shape, np.bool_) if content is None else content
    return _correlations_of(thumbnails, masks, first, second).reshape(len(thumbnails), len(thumbnails))


def _correlations_of(
    thumbnails: Thumbnails, content: Mask, first: NDArray[Any], second: NDArray[Any]
) -> NDArray[np.float32]:
    """Return the entries of :func:`pair_correlations` for some pairs."""
    found = np.empty(len(first), np.float32)
    for start in range(0, len(first), PAIRS):
        one, other = first[start : start + PAIRS], second[start : start + PAIRS]
        straight = _overlap_correlations(thumbnails[one], content[one], thumbnails[other], content[other])
        mirrored = _overlap_correlations(
            thumbnails[one], content[one], thumbnails[other][:, :, ::-1], content[other][:, :, ::-1]
        )
        found[start : start + PAIRS] = np.maximum(straight, mirrored)
    return found


def _overlap_correlations(one: Thumbnails, content: Mask, other: Thumbnails, others: Mask) -> NDArray[np.float32]:
    """Return the correlations (n,) over the common cells; 0 where these are too few or have no contrast."""
    both = (content & others).reshape(len(one), -1).astype(np.float32)
    counts = np.maximum(both.sum(axis=1), 1)
    planes = []
    for each in (one, other):
        plane = each.reshape(len(one), -1).astype(np.float32)
        plane -= ((plane * both).sum(axis=1) / counts)[:, None]
        planes.append(plane * both)
    deviations = [np.sqrt((plane * plane).sum(axis=1) / counts) for plane in planes]
    products = (planes[0] * planes[1]).sum(axis=1) / counts
    compared = (both.mean(axis=1) >= MIN_OVERLAP) & (np.minimum(*deviations) >= MIN_CONTRAST)
    return np.where(compared, products / np.maximum(deviations[0] * deviations[1], 1e-6), 0).astype(np.float32)


def _correlation_bound(same: Any, unlike: Any, others_same: Any, others_unlike: Any) -> NDArray[np.float32]:
    """Return the greater of direct and mirrored correlation of every two descriptors, from their halves."""
    products: NDArray[np.float32] = unlike @ others_unlike.T
    np.abs(products, out=products)
    products += same @ others_same.T
    return products


def near_duplicate_groups(
    thumbnails: Thumbnails, content: Mask | None = None, threshold: float = MIN_CORRELATION
) -> list[list[int]]:
    """Return groups of two or more images linked by a correlation of at least ``threshold``, indices ascending.

    All pairs are compared in blocks: memory grows linearly with the number of images (1 kB each), time quadratically.
    Pairs with an image that is not completely photographed (``content``) must also correlate over their common cells.
    """
    masks = np.ones(thumbnails.shape, np.bool_) if content is None else content
    rows = np.empty((len(thumbnails), thumbnails.shape[1] * thumbnails.shape[2]), np.float32)
    for first in range(0, len(rows), BLOCK):
        rows[first : first + BLOCK] = _descriptors(thumbnails[first : first + BLOCK])
    partly = np.asarray(~masks.all(axis=(1, 2)))
    half = rows.shape[1] // 2
    same, unlike = rows[:, :half], rows[:, half:]
    parent = np.arange(len(rows))
    for first in range(0, len(rows), BLOCK):
        for second in range(first, len(rows), BLOCK):
            products = _correlation_bound(
                same[first : first + BLOCK],
                unlike[first : first + BLOCK],
                same[second : second + BLOCK],
                unlike[second : second + BLOCK],
            )
            found = np.argwhere(products >= threshold) + np.array([first, second])
            one, other = found[:, 0], found[:, 1]
            # Equal empty corners can cause such a pair; the common photographed cells decide.
            is_linked: NDArray[np.bool_] = np.less(one, other)
            unsure = is_linked & (partly[one] | partly[other])
            is_linked[unsure] = (
                _correlations_of(thumbnails, masks, one[unsure], other[unsure]) >= MIN_OVERLAP_CORRELATION
            )
            for row, column in zip(one[is_linked].tolist(), other[is_linked].tolist(), strict=True):
                root, another = _root(parent, row), _root(parent, column)
                parent[max(root, another)] = min(root, another)
    members: dict[int, list[int]] = {}
    for index in range(len(rows)):
        members.setdefault(_root(parent, index), []).append(index)
    return [group for group in members.values() if len(group) > 1]


def _root(parent: NDArray[np.int64], index: int) -> int:
    """Return the representative of the group of ``index`` (union-find with path halving)."""
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = int(parent[index])
    return index
