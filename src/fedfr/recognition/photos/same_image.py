"""Copies of an image among others: stored again as JPEG, resized, brighter or mirrored."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["SeenImages"]

_SIDE = 16
# Of 5 749 people of LFW, one image each, the three pairs above it are the same photograph under two names; the next has
# 0.972. Copies have 0.998 (JPEG of quality 20), 0.999 (resized), 0.987 (brighter) and more.
_SAME = 0.985


class SeenImages:
    """Aligned crops (112, 112, 3) that were seen, by grey thumbnails.

    A network's features cannot tell: how similar those of two people can be depends on the network.

    >>> import numpy as np
    >>> from fedfr.recognition.photos.same_image import SeenImages
    >>> crops = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8).repeat(14, 1).repeat(14, 2)
    >>> seen = SeenImages()
    >>> [seen.add(crop) for crop in (crops[0], crops[1], crops[0] // 2, crops[0][:, ::-1])]
    [True, True, False, False]
    """

    def __init__(self) -> None:
        self._thumbnails = np.empty((64, _SIDE * _SIDE), np.float32)
        self._count = 0

    def add(self, crop: NDArray[np.uint8]) -> bool:
        """Add a crop; returns False if it is the copy of one that was added before."""
        grey = np.asarray(cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY), np.uint8)
        both = np.stack([_thumbnail(grey), _thumbnail(np.ascontiguousarray(grey[:, ::-1]))])
        if self._count and float((self._thumbnails[: self._count] @ both.T).max()) >= _SAME:
            return False
        if self._count == len(self._thumbnails):
            self._thumbnails = np.concatenate([self._thumbnails, np.empty_like(self._thumbnails)])
        self._thumbnails[self._count] = both[0]
        self._count += 1
        return True


def _thumbnail(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a thumbnail of mean 0 and length 1; those of a single grey count as copies of each other."""
    small = np.asarray(cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.float32).ravel()
    centred = small - small.mean()
    length = float(np.linalg.norm(centred))
    return centred / np.float32(length) if length > 0 else np.full_like(small, 1 / _SIDE)
