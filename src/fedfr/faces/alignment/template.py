"""Alignment of a face to the ArcFace template by a similarity transform of five landmarks."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces.pixels import IMAGE_SHAPE

__all__ = ["ARCFACE_TEMPLATE", "align", "similarity"]

ARCFACE_TEMPLATE: NDArray[np.float64] = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Landmarks (5, 2) of the template, x and y in pixels of a 112x112 image.

The order is left eye, right eye, nose, left and right corner of the mouth, as seen in the image (Deng et al., ArcFace,
CVPR 2019).
"""
ARCFACE_TEMPLATE.flags.writeable = False

# Bilinear interpolation uses 2x2 pixels: below half the size it skips pixels, and fine detail aliases.
_MIN_SCALE = 0.5


def similarity(points: ArrayLike) -> NDArray[np.float64]:
    """Return the similarity transform (2, 3) that maps five ``points`` (5, 2) to the template with least squares.

    Closed form without reflection (Umeyama, PAMI 1991): with points as complex numbers x + iy, the factor is the sum of
    conj(p)·t over the sum of |p|², both centred. Raises :class:`FedfrError` for another shape, points that are not
    finite, and points that coincide.
    """
    given = np.asarray(points, dtype=np.float64)
    if given.shape != ARCFACE_TEMPLATE.shape:
        raise FedfrError(f"alignment needs five points (5, 2), these are {given.shape}; give x, y of each")
    if not np.isfinite(given).all() or not np.ptp(given, axis=0).any():
        raise FedfrError(f"five points {given.tolist()} cannot be aligned; give finite points that do not coincide")
    source, target = given[:, 0] + 1j * given[:, 1], ARCFACE_TEMPLATE[:, 0] + 1j * ARCFACE_TEMPLATE[:, 1]
    centred = source - source.mean()
    factor = np.vdot(centred, target) / np.vdot(centred, centred).real
    shift = target.mean() - factor * source.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def align(image: NDArray[np.uint8], points: ArrayLike) -> NDArray[np.uint8]:
    """Align the face at five ``points`` (5, 2) of a uint8 ``image`` (height, width, 3) to the template, (112, 112, 3).

    ``points`` are x, y in pixels in the order of :data:`ARCFACE_TEMPLATE`. Pixels are interpolated bilinearly; a face
    of more than twice the size is first reduced by area averaging; the area outside the image is black. Raises
    :class:`FedfrError` as :func:`similarity` does, and for any other image.

    >>> import numpy as np
    >>> from fedfr.faces import align
    >>> image = np.full((300, 400, 3), 128, np.uint8)
    >>> points = [(170, 120), (230, 120), (200, 155), (175, 190), (225, 190)]
    >>> align(image, points).shape
    (112, 112, 3)
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise FedfrError(
            f"the image to align is {image.dtype} of shape {image.shape}; give RGB pixels from 0 to 255 as uint8 of "
            "shape (height, width, 3)"
        )
    matrix = similarity(points)
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    if scale < _MIN_SCALE:
        image, matrix = _downscaled(image, matrix, scale / _MIN_SCALE)
    height, width = IMAGE_SHAPE[:2]
    # OpenCV cannot warp images with a side above 2^15 pixels, so only the part that the result needs is warped.
    image, matrix = _cropped(image, matrix)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR), dtype=np.uint8)


def _cropped(image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return the part of the image that the transform uses, and the transform relative to its corner."""
    height, width = IMAGE_SHAPE[:2]
    corners = np.array([[-1, -1], [width, -1], [-1, height], [width, height]], dtype=np.float64)
    reached = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    limit = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(reached.min(axis=0)), 0, limit - 1).astype(int)
    high = np.clip(np.ceil(reached.max(axis=0)) + 1, low + 1, limit).astype(int)
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ low
    return image[low[1] : high[1], low[0] : high[0]], moved


def _downscaled(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], factor: float
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return the part of the image that the transform uses, reduced by ``factor`` < 1, and the transform from there."""
    image, matrix = _cropped(image, matrix)
    size = [max(1, round(side * factor)) for side in (image.shape[1], image.shape[0])]
    by = np.array(size) / (image.shape[1], image.shape[0])
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    # Pixel centres: x of the large image is (x + 1/2) / by - 1/2 of the small one.
    moved = np.empty_like(matrix)
    moved[:, :2] = matrix[:, :2] / by
    moved[:, 2] = matrix[:, 2] + matrix[:, :2] @ (0.5 / by - 0.5)
    return small, moved
