"""Check of the crop: the position of the mean face relative to the ArcFace template."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_OFFSET", "MIN_FACE_CONTRAST", "MIN_FACE_CORRELATION", "MIN_IMAGES", "Crop", "locate_mean_face"]

MIN_IMAGES = 50
"""Least number of images; the mean of fewer faces still shows individual ones."""

MAX_OFFSET = 3.0
"""Greatest allowed root-mean-square distance of the mean face's landmarks from the template, in pixels."""

MIN_FACE_CORRELATION = 0.7
"""Least correlation with the reference mean face; below it no mean face was found."""

MIN_FACE_CONTRAST = 0.8
"""Least contrast of eyes and mouth in the mean face, 1 for well-aligned faces; scattered faces blur the mean."""

# The ArcFace template: eyes, nose, corners of the mouth (Deng et al., CVPR 2019; insightface's 112x112 points).
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
CENTRE = np.array([56.0, 72.0])
TOP, BOTTOM, LEFT, RIGHT = 36, 106, 24, 88
MAX_SHIFT, PAD = 20, 30
SCALES_BELOW_ONE = (0.5, 0.53, 0.55, 0.58, 0.61, 0.64, 0.68, 0.71, 0.75, 0.78, 0.82, 0.87, 0.91, 0.95)
SCALES_ABOVE_ONE = (1.05, 1.1, 1.16, 1.22, 1.28, 1.34, 1.41, 1.5)

# Mean luminance of 1 891 aligned faces (every seventh of LFW), made symmetric: each face standardized to mean 0 and
# standard deviation 1, in units of 1/40, in cells of 7x7 pixels. No person can be recognized in it.
MEAN_FACE = (
    (-12, -14, -15, -16, -16, -15, -14, -14, -14, -14, -15, -16, -16, -15, -14, -12),
    (-14, -16, -16, -13, -6, 0, 5, 6, 6, 5, 0, -6, -13, -16, -16, -14),
    (-16, -16, -14, -6, 6, 17, 25, 27, 27, 25, 17, 6, -6, -14, -16, -16),
    (-17, -17, -12, -1, 13, 25, 34, 37, 37, 34, 25, 13, -1, -12, -17, -17),
    (-19, -18, -12, 2, 17, 29, 37, 39, 39, 37, 29, 17, 2, -12, -18, -19),
    (-19, -19, -11, 2, 14, 21, 31, 37, 37, 31, 21, 14, 2, -11, -19, -19),
    (-19, -17, -9, -3, -4, -10, -5, 18, 18, -5, -10, -4, -3, -9, -17, -19),
    (-17, -14, -6, -5, -14, -22, -15, 13, 13, -15, -22, -14, -5, -6, -14, -17),
    (-13, -10, 0, 11, 13, 11, 12, 26, 26, 12, 11, 13, 11, 0, -10, -13),
    (-11, -8, 0, 16, 30, 32, 25, 31, 31, 25, 32, 30, 16, 0, -8, -11),
    (-11, -9, -3, 9, 24, 25, 12, 15, 15, 12, 25, 24, 9, -3, -9, -11),
    (-12, -11, -6, 3, 12, 14, 10, 1, 1, 10, 14, 12, 3, -6, -11, -12),
    (-15, -14, -9, -1, 8, 5, 4, 5, 5, 4, 5, 8, -1, -9, -14, -15),
    (-17, -16, -13, -4, 7, 3, -7, -4, -4, -7, 3, 7, -4, -13, -16, -17),
    (-17, -18, -17, -11, -1, 9, 8, 4, 4, 8, 9, -1, -11, -17, -18, -17),
    (-18, -18, -18, -17, -10, 4, 14, 15, 15, 14, 4, -10, -17, -18, -18, -18),
)


@dataclass(frozen=True)
class Crop:
    """Position of a mean face relative to the ArcFace template, which has ``scale`` 1 and ``shift`` (0, 0).

    ``shift`` is in pixels (right, down). ``offset`` is the root-mean-square distance of the five landmarks from the
    template's, in pixels; ``correlation`` that with the reference mean face at this position, -1 … 1; ``contrast`` the
    contrast of eyes and mouth at the template's position, 1 for well-aligned faces.
    """

    scale: float
    shift: tuple[float, float]
    offset: float
    correlation: float
    contrast: float

    @property
    def is_aligned(self) -> bool:
        """Whether correlation, offset and contrast are all within their limits."""
        return (
            self.correlation >= MIN_FACE_CORRELATION
            and self.offset <= MAX_OFFSET
            and self.contrast >= MIN_FACE_CONTRAST
        )

    def describe(self) -> str:
        """Describe the first limit that is not met."""
        if self.correlation < MIN_FACE_CORRELATION:
            return f"no mean face (correlation {self.correlation:.2f})"
        if self.offset > MAX_OFFSET:
            right, down = self.shift
            return f"{self.scale:.2f} times the size, {right:+.0f} px right, {down:+.0f} px down"
        return f"scattered: eyes and mouth of the mean face have {self.contrast:.0%} of their contrast"


@cache
def _reference_face() -> NDArray[Any]:
    return cv2.resize(np.array(MEAN_FACE, np.float32) / 40, (112, 112), interpolation=cv2.INTER_CUBIC)


def _local_contrast(plane: NDArray[Any]) -> NDArray[Any]:
    """Return the difference of Gaussians (3 and 7 pixels) over the face region: structure of the size of an eye."""
    fine, coarse = (cv2.GaussianBlur(plane, (0, 0), width) for width in (3, 7))
    return (fine - coarse)[TOP:BOTTOM, LEFT:RIGHT]


def _face_contrast(plane: NDArray[Any]) -> float:
    """Return the contrast of eyes and mouth relative to the reference mean face."""
    wanted = _local_contrast(_reference_face())
    return float((_local_contrast(plane) * wanted).sum() / (wanted * wanted).sum())


def locate_mean_face(mean_face: NDArray[np.floating[Any]]) -> Crop:
    """Return the position of a mean of standardized luminances (112, 112) by its best correlation.

    Scales from 0.5 to 1.5 and shifts of up to 20 pixels are tried.
    """
    plane = mean_face.astype(np.float32)
    template = np.ascontiguousarray(_reference_face()[TOP:BOTTOM, LEFT:RIGHT])
    best = Crop(1.0, (0.0, 0.0), 0.0, -1.0, _face_contrast(plane))
    for scale in (*SCALES_BELOW_ONE, 1.0, *SCALES_ABOVE_ONE):
        # Scale the face back to the template's size, with a margin for the shift.
        corner = CENTRE * (1 - scale) - scale * PAD
        back = cv2.warpAffine(
            plane,
            np.array([[scale, 0, corner[0]], [0, scale, corner[1]]], np.float32),
            (112 + 2 * PAD, 112 + 2 * PAD),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        top, left = TOP + PAD - MAX_SHIFT, LEFT + PAD - MAX_SHIFT
        window = back[top : BOTTOM + PAD + MAX_SHIFT, left : RIGHT + PAD + MAX_SHIFT]
        correlation = cv2.matchTemplate(window, template, cv2.TM_CCOEFF_NORMED)
        row, column = np.unravel_index(int(correlation.argmax()), correlation.shape)
        if correlation[row, column] > best.correlation:
            shift = np.array([column - MAX_SHIFT, row - MAX_SHIFT]) * scale
            moved = (TEMPLATE - CENTRE) * scale + CENTRE + shift
            offset = float(np.sqrt(((moved - TEMPLATE) ** 2).sum(axis=1).mean()))
            place = (round(float(shift[0]), 1), round(float(shift[1]), 1))
            best = Crop(scale, place, offset, float(correlation[row, column]), best.contrast)
    return best
