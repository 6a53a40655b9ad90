"""Result for one photograph: an aligned face, or the reason for skipping it, with the measured values."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fedfr.core.short_repr import Brief
from fedfr.faces.alignment.detection import Face, choose_main_face
from fedfr.faces.alignment.photographs.aligners import Aligner
from fedfr.faces.alignment.photographs.opening import read_photograph
from fedfr.faces.alignment.photographs.reasons import RejectedPhotograph
from fedfr.faces.alignment.template import align, similarity
from fedfr.faces.pixels import IMAGE_SHAPE

__all__ = ["Limits", "Outcome", "align_photograph", "face_size", "sharpness"]

MIN_RELATIVE_AREA = 0.25


@dataclass(frozen=True)
class Limits:
    """What a face must reach. ``score``: the detector's, 0 to 1. ``size``: pixels of the photograph along one side of
    the square that becomes the face. ``sharpness``: variance of the Laplacian of the aligned face's greys; of 2 647 LFW
    faces the least is 11, blurred by a Gaussian of 2 pixels the median is 8, of 3 pixels 3.5.
    ``several``: whether a photograph may show others, a quarter as large or larger, beside the face that is taken.
    """

    score: float = 0.6
    size: float = 56.0
    sharpness: float = 8.0
    several: bool = True

    def changed(self) -> dict[str, float | bool]:
        """Those that are not the defaults."""
        plain = Limits()
        return {name: value for name, value in asdict(self).items() if value != getattr(plain, name)}


@dataclass(frozen=True, repr=False)
class Outcome(Brief):
    """``reason`` is empty when there is a face, ``pixels`` None when there is none. Numbers that were not reached are
    None: ``width`` and ``height`` of the photograph, ``faces`` in it, and of the chosen one ``score``, ``size`` and
    ``sharpness`` as in :class:`Limits`.
    """

    name: str
    reason: str = ""
    width: int | None = None
    height: int | None = None
    faces: int | None = None
    score: float | None = None
    size: float | None = None
    sharpness: float | None = None
    detail: str = ""
    pixels: NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)


# In order: the first that applies is the reason.
RULES: tuple[tuple[str, Callable[[Outcome, Limits], bool]], ...] = (
    ("too-small", lambda face, limits: (face.size or 0.0) < limits.size),
    ("too-blurred", lambda face, limits: (face.sharpness or 0.0) < limits.sharpness),
)


def align_photograph(path: Path, name: str, aligner: Aligner, limits: Limits) -> Outcome:
    """Read one photograph and align the face it is of, or say why there is none; ``name`` is its path among others."""
    known: dict[str, Any] = {}
    try:
        image = read_photograph(path)
        known |= {"width": image.shape[1], "height": image.shape[0]}
        face = _main_face(aligner.faces(name, image), image.shape, aligner.nothing, limits, known)
        pixels = align(image, face.points)
    except RejectedPhotograph as unfit:
        return Outcome(name, unfit.reason, **known, detail=unfit.detail)
    known |= {"size": round(face_size(face), 2), "sharpness": round(sharpness(pixels), 2)}
    found = Outcome(name, **known, pixels=pixels)
    reason = next((reason for reason, applies in RULES if applies(found, limits)), "")
    return Outcome(name, reason, **known) if reason else found


def _main_face(
    faces: tuple[Face, ...], shape: tuple[int, ...], nothing: str, limits: Limits, known: dict[str, Any]
) -> Face:
    """The face to take; what is known of it and of the others is noted in ``known``."""
    if not faces:
        raise RejectedPhotograph(nothing)
    sure = [face for face in faces if face.score is None or face.score >= limits.score]
    chosen = choose_main_face(sure or faces, shape)
    known |= {"faces": len(sure), "score": None if chosen.score is None else round(chosen.score, 4)}
    if not sure:
        raise RejectedPhotograph("low-score")
    others = [face for face in sure if face is not chosen and face.area >= MIN_RELATIVE_AREA * chosen.area]
    if others and not limits.several:
        raise RejectedPhotograph("several-faces")
    return chosen


def face_size(face: Face) -> float:
    """Pixels of the photograph along one side of the square that becomes the 112x112 face."""
    matrix = similarity(face.points)
    return IMAGE_SHAPE[0] / math.hypot(matrix[0, 0], matrix[1, 0])


def sharpness(pixels: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of an RGB image's greys, squared grey levels (Pech-Pacheco et al., ICPR 2000)."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())
