"""Images that are nearly the same: groups by the correlation of their small grey versions, mirrored ones too.

Only what both show is compared: warping leaves black corners where a photograph ends, which are alike in the images
of everybody.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIN_CORRELATION", "MIN_OVERLAP_CORRELATION", "near_duplicate_groups", "pair_correlations"]

MIN_CORRELATION = 0.98
"""Correlation from which on two images are the same one (docs/faces.md says how it was chosen)."""

BLOCK = 2048
MIN_CONTRAST = 4.0
MIN_OVERLAP_CORRELATION = 0.95
"""The same over what both of two images show, where they do not show everything: less is left to tell them by."""

MIN_OVERLAP = 0.2
"""Share of the image that two must have in common to be compared."""

PAIRS = 1 << 14

Descriptors = NDArray[np.float32]
Thumbnails = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def _descriptors(thumbnails: Thumbnails) -> Descriptors:
    """Rows of mean 0 and length 1, (N, 256), as the sums and differences of each image and its mirror image.

    ``u·v`` over all 256 is the correlation of two images; with the last 128 negated, of one and the other's mirror.
    An image without contrast is a row of zeros and like nothing.
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
    """Correlation (n, n) of every two small images (n, 16, 16) uint8, or of one and the other's mirror if greater.

    ``content`` (n, 16, 16): what was photographed of each, everything when left out; of two images only what both show
    is compared.
    """
    first, second = np.divmod(np.arange(len(thumbnails) ** 2), max(len(thumbnails), 1))
    masks = np.ones(thumbnails.shape, np.bool_) if content is None else content
    return _correlations_of(thumbnails, masks, first, second).reshape(len(thumbnails), len(thumbnails))


def _correlations_of(
    thumbnails: Thumbnails, content: Mask, first: NDArray[Any], second: NDArray[Any]
) -> NDArray[np.float32]:
    """:func:`pair_correlations` of some pairs."""
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
    """Correlations (n,) over what both show; 0 where that is too little, or without contrast."""
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
    products: NDArray[np.float32] = unlike @ others_unlike.T
    np.abs(products, out=products)
    products += same @ others_same.T
    return products


def near_duplicate_groups(
    thumbnails: Thumbnails, content: Mask | None = None, threshold: float = MIN_CORRELATION
) -> list[list[int]]:
    """Groups of two or more images linked by a correlation of at least ``threshold``, ascending.

    Of all pairs, in blocks: memory grows with the images, a kilobyte each, time with their square. Where a part of a
    image is not ``content``, two have to be alike as a whole and in what both show.
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
            # Corners that are alike in everybody's images make such pairs; what both show is compared alone.
            alike: NDArray[np.bool_] = np.less(one, other)
            unsure = alike & (partly[one] | partly[other])
            alike[unsure] = _correlations_of(thumbnails, masks, one[unsure], other[unsure]) >= MIN_OVERLAP_CORRELATION
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
