"""Per-image measurements from one pass over all pixels; the other checks use these."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fedfr.audit.content_area import content_mask
from fedfr.faces.array_columns import Digests
from fedfr.faces.faceset import FaceSet

__all__ = ["THUMBNAIL_SIDE", "ImageMeasurements", "measure_images"]

THUMBNAIL_SIDE = 16
"""Side in pixels of the grey thumbnails."""

BLOCK = 256
# Rows and columns of an aligned face from the eyes to the mouth, which exclude hair, hats and background.
SKIN = (slice(40, 100), slice(30, 82))
FACE = (slice(16, 96), slice(16, 96))

Values = NDArray[np.float32]
ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True)
class ImageMeasurements:
    """Measurements of every image (N,), in grey levels, and the mean face of every group.

    ``digests`` are SHA-256 of the pixels; ``thumbnails`` (N, 16, 16) uint8 the reduced luminance and ``content`` (N,
    16, 16) the mask of its photographed cells. ``brightness`` and ``contrast`` are mean and standard deviation of the
    luminance; ``sharpness`` is the standard deviation of its Laplacian over the face; ``redness`` the mean of red minus
    blue over the skin; ``colour`` the mean absolute difference of red and blue. ``mean_faces`` (G, 112, 112) are the
    means of the standardized luminance over the ``sizes`` (G,) images of each group.
    """

    digests: Digests
    thumbnails: NDArray[np.uint8]
    content: NDArray[np.bool_]
    brightness: Values
    contrast: Values
    sharpness: Values
    redness: Values
    colour: Values
    mean_faces: NDArray[np.float64]
    sizes: NDArray[np.int64]


def measure_images(
    faces: FaceSet, groups: NDArray[np.int64], count: int, progress: ProgressCallback = lambda done, total: None
) -> ImageMeasurements:
    """Measure every image, in blocks of 256; ``groups`` (N,) assigns each to one of ``count`` mean faces."""
    total = len(faces)
    digests = bytearray()
    thumbnails = np.empty((total, THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)
    content = np.empty((total, THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.bool_)
    values = np.empty((total, 5), np.float32)
    sums = np.zeros((count, 112, 112))
    for start in range(0, total, BLOCK):
        images = faces.images(range(start, min(start + BLOCK, total)))
        for index, image in enumerate(images, start=start):
            digests += hashlib.sha256(image.tobytes()).digest()
            grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
            thumbnails[index] = cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
            content[index] = content_mask(image, THUMBNAIL_SIDE)
            values[index] = _values(image, grey)
            brightness, contrast = values[index, :2].tolist()
            if contrast > 0:
                sums[groups[index]] += (grey - brightness) / contrast
        progress(start + len(images), total)
    sizes = np.bincount(groups, minlength=count)
    brightnesses, contrasts, sharpnesses, rednesses, colours = values.T
    return ImageMeasurements(
        Digests.of([digests]),
        thumbnails,
        content,
        brightnesses,
        contrasts,
        sharpnesses,
        rednesses,
        colours,
        sums / np.maximum(sizes, 1)[:, None, None],
        sizes.astype(np.int64),
    )


def _values(image: NDArray[np.uint8], grey: NDArray[np.uint8]) -> tuple[float, ...]:
    mean, deviation = cv2.meanStdDev(grey)
    _, roughness = cv2.meanStdDev(cv2.Laplacian(np.ascontiguousarray(grey[FACE]), cv2.CV_16S, ksize=1))
    skin: Any = cv2.mean(image[SKIN])
    colour: Any = cv2.mean(cv2.absdiff(image[:, :, 0], image[:, :, 2]))
    return float(mean[0, 0]), float(deviation[0, 0]), float(roughness[0, 0]), skin[0] - skin[2], colour[0]
