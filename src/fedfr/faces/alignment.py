"""Turning a face upright and to the size networks were trained on, from five points of it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedfr.errors import FedfrError
from fedfr.faces.pixels import IMAGE_SHAPE

__all__ = ["ARCFACE_TEMPLATE", "align", "similarity"]

ARCFACE_TEMPLATE: NDArray[np.float64] = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Eyes, nose and corners of the mouth in a 112x112 picture, left before right as seen: x, y in pixels (Deng et al.,
ArcFace, CVPR 2019)."""
ARCFACE_TEMPLATE.flags.writeable = False

# Squared pixels, summed over the five points.
_LEAST_SPREAD = 1e-9


def similarity(points: ArrayLike) -> NDArray[np.float64]:
    """The matrix (2, 3) that rotates, scales and shifts five ``points`` (5, 2) nearest to :data:`ARCFACE_TEMPLATE`.

    Least squares, never a mirror image (Umeyama, PAMI 1991, equations 40 to 43). Raises :class:`FedfrError` for another
    shape, for values that are not finite, and where all five points are one.
    """
    given = np.asarray(points, dtype=np.float64)
    if given.shape != ARCFACE_TEMPLATE.shape or not np.isfinite(given).all():
        found = given.tolist() if given.size == 10 else f"of shape {given.shape}"
        raise FedfrError(f"found points {found}; alignment needs five, each with a finite x and y: (5, 2)")
    mean, target_mean = given.mean(axis=0), ARCFACE_TEMPLATE.mean(axis=0)
    source, target = given - mean, ARCFACE_TEMPLATE - target_mean
    spread = float(np.square(source).sum())
    if spread < _LEAST_SPREAD:
        raise FedfrError(f"found points {given.tolist()}; alignment needs five that are not all the same")
    left, strengths, right = np.linalg.svd(target.T @ source)
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    matrix = (strengths @ signs) / spread * (left * signs) @ right
    return np.column_stack([matrix, target_mean - matrix @ mean])


def align(image: NDArray[np.uint8], points: ArrayLike) -> NDArray[np.uint8]:
    """The face (112, 112, 3) in ``image`` (height, width, 3) that has its five points at ``points``, in pixels.

    Bilinear, black outside of the picture, as InsightFace aligns. Raises as :func:`similarity` does.
    """
    size = IMAGE_SHAPE[1], IMAGE_SHAPE[0]
    return np.asarray(cv2.warpAffine(image, similarity(points), size, flags=cv2.INTER_LINEAR), dtype=np.uint8)
