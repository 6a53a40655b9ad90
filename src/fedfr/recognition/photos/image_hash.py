"""Hash of an aligned face, by which copies of the image are found: stored again, resized, brighter or mirrored."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["HASH_BYTES", "image_hash", "mirrored_hash", "rows_of_copies"]

HASH_BYTES = 32
_SIDE, _KEPT = 32, 16
# Between images of different people of LFW, ORL and another set (22 million pairs) at least 59 of 256 bits
# differ. Of copies at most 8 differ if resized or as JPEG of quality 90, 18 of quality 20, 28 if much brighter, 34 if
# shifted by a pixel.
_DIFFERENT_BITS = 40
_ROWS = 65_536

Hashes = NDArray[np.uint8]


def image_hash(crop: NDArray[np.uint8]) -> Hashes:
    """Return the signs of the low frequencies of an image's grey values: 256 bits as uint8 (32,).

    >>> import numpy as np
    >>> from fedfr.recognition.photos.image_hash import image_hash, rows_of_copies
    >>> crops = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8).repeat(14, 1).repeat(14, 2)
    >>> hashes = np.stack([image_hash(crop) for crop in (crops[0], crops[1], crops[0] // 2)])
    >>> rows_of_copies(hashes, hashes[:1]).tolist()
    [0, 2]
    """
    grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY)
    small = np.asarray(cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.float32)
    low = np.asarray(cv2.dct(small))[:_KEPT, :_KEPT].copy()
    low[0, 0] = 0  # the mean
    return np.packbits(low.ravel() > 0)


def mirrored_hash(crop: NDArray[np.uint8]) -> Hashes:
    """Return the hash of the mirrored image."""
    return image_hash(crop[:, ::-1])


def rows_of_copies(hashes: Hashes, known: Hashes) -> NDArray[np.int64]:
    """Return which rows of ``hashes`` (N, 32) are those of copies of an image among ``known`` (K, 32)."""
    given = _signs(hashes)
    found = np.zeros(len(hashes), np.bool_)
    for start in range(0, len(known), _ROWS):
        agreeing = given @ _signs(known[start : start + _ROWS]).T
        found |= (agreeing >= 8 * HASH_BYTES - 2 * _DIFFERENT_BITS).any(axis=1)
    return np.flatnonzero(found)


def _signs(hashes: Hashes) -> NDArray[np.float32]:
    return np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1
