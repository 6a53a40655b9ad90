"""Detection of the image area that shows the photograph, as opposed to the uniform corners that warping leaves."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["content_mask"]

SIDE = 56
"""Side in pixels to which images are reduced first; this removes noise and JPEG ringing but keeps the corners."""

MIN_AREA = 0.01
"""Share of the image that a uniform area at the border must cover to count as empty."""

DARK, DARK_REACH, REACH = 12, 12, 3
"""Flood-fill tolerances in grey levels: borders not brighter than ``DARK`` use ``DARK_REACH``, other colours ``REACH``.
"""

Plane = NDArray[np.uint8]


def content_mask(image: Plane, cells: int) -> NDArray[np.bool_]:
    """Return which cells of a ``cells`` × ``cells`` grid over an image (112, 112, 3) show at least 75 % photograph."""
    reduced = np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    outside = _uniform_areas(reduced)
    if not outside.any():
        return np.ones((cells, cells), np.bool_)
    # Pixels along the edge of the photograph are a mixture of both sides, so the mask is grown by one pixel.
    outside = np.asarray(cv2.dilate(outside.astype(np.uint8), np.ones((3, 3), np.uint8)))
    share = cv2.resize(outside.astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA)
    return np.asarray(share <= 0.25)


def _uniform_areas(image: Plane) -> NDArray[np.bool_]:
    """Return the mask (56, 56) of uniform areas that touch a corner or the middle of a side."""
    found = np.zeros((SIDE, SIDE), np.bool_)
    ends = (0, SIDE // 2, SIDE - 1)
    for across in ends:
        for down in ends:
            seed = image[down, across]
            if (across == down == SIDE // 2) or found[down, across]:
                continue
            reach = DARK_REACH if int(seed.max()) <= DARK else REACH
            mask = np.zeros((SIDE + 2, SIDE + 2), np.uint8)
            flags = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
            cv2.floodFill(image, mask, (across, down), 0, (reach,) * 3, (reach,) * 3, flags)
            area = mask[1:-1, 1:-1].astype(np.bool_)
            if area.mean() >= MIN_AREA:
                found |= area
    return found
