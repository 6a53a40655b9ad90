"""Pictures that are nearly the same: groups by the correlation of their small grey versions, mirrored ones too."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEAR", "groups_alike", "likeness"]

NEAR = 0.98
"""Correlation from which on two pictures are the same one (docs/faces.md says how it was chosen)."""

BLOCK = 2048
LEAST_CONTRAST = 4.0

Descriptors = NDArray[np.float32]


def _descriptors(small: NDArray[np.uint8]) -> Descriptors:
    """Rows of mean 0 and length 1, (N, 256), as the sums and differences of each picture and its mirror image.

    ``u·v`` over all 256 is the correlation of two pictures; with the last 128 negated, of one and the other's mirror.
    A picture without contrast is a row of zeros and like nothing.
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


def likeness(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Correlation (n, n) of every two small pictures (n, 16, 16) uint8, or of one and the other's mirror if greater."""
    rows = _descriptors(small)
    half = rows.shape[1] // 2
    return _greater(rows[:, :half], rows[:, half:], rows[:, :half], rows[:, half:])


def _greater(same: Any, unlike: Any, others_same: Any, others_unlike: Any) -> NDArray[np.float32]:
    products: NDArray[np.float32] = unlike @ others_unlike.T
    np.abs(products, out=products)
    products += same @ others_same.T
    return products


def groups_alike(small: NDArray[np.uint8], threshold: float = NEAR) -> list[list[int]]:
    """Groups of two or more pictures linked by a correlation of at least ``threshold``, ascending.

    Exact, of all pairs, in blocks: memory grows with the pictures, a kilobyte each, time with their square.
    """
    rows = np.empty((len(small), small.shape[1] * small.shape[2]), np.float32)
    for first in range(0, len(rows), BLOCK):
        rows[first : first + BLOCK] = _descriptors(small[first : first + BLOCK])
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
            for row, column in zip(*np.nonzero(products >= threshold), strict=True):
                one, other = _root(parent, first + row), _root(parent, second + column)
                parent[max(one, other)] = min(one, other)
    members: dict[int, list[int]] = {}
    for index in range(len(rows)):
        members.setdefault(_root(parent, index), []).append(index)
    return [group for group in members.values() if len(group) > 1]


def _root(parent: NDArray[np.int64], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = int(parent[index])
    return index
