"""Outcome for one photograph: an aligned face, or the reason for skipping it, with the measured values."""

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
from fedfr.faces.alignment.photographs.photograph_reading import read_photograph
from fedfr.faces.alignment.photographs.reasons import RejectedPhotograph
from fedfr.faces.alignment.template import align, similarity
from fedfr.faces.pixels import IMAGE_SHAPE

__all__ = ["Limits", "Outcome", "align_photograph", "face_size", "sharpness"]

MIN_RELATIVE_AREA = 0.25


@dataclass(frozen=True)
class Limits:
    """Requirements for a face to be used.

    ``score`` is the minimum score of the detector, 0 to 1; ``size`` the minimum side, in pixels of the photograph, of
    the square that becomes the aligned face; ``sharpness`` the minimum variance of the Laplacian of the aligned face in
    grey levels. Of 2 647 LFW faces the least sharpness is 11; blurred by a Gaussian of 2 pixels the median is 8, of
    3 pixels 3.5. With ``several`` a photograph may show other faces that are at least a quarter as large as the main
    face.
    """

    score: float = 0.6
    size: float = 56.0
    sharpness: float = 8.0
    several: bool = True

    def changed(self) -> dict[str, float | bool]:
        """Return the requirements that differ from the defaults."""
        defaults = Limits()
        return {name: value for name, value in asdict(self).items() if value != getattr(defaults, name)}


@dataclass(frozen=True, repr=False)
class Outcome(Brief):
    """Outcome for the photograph ``name``.

    ``reason`` is empty if there is a face, and ``pixels`` is None if there is none. Values that were not determined are
    None: ``width`` and ``height`` of the photograph, the number of ``faces`` in it, and of the main face ``score``,
    ``size`` and ``sharpness`` as in :class:`Limits`. ``detail`` explains the reason.
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


# The first rule that applies gives the reason.
RULES: tuple[tuple[str, Callable[[Outcome, Limits], bool]], ...] = (
    ("too-small", lambda face, limits: (face.size or 0.0) < limits.size),
    ("too-blurred", lambda face, limits: (face.sharpness or 0.0) < limits.sharpness),
)


def align_photograph(path: Path, name: str, aligner: Aligner, limits: Limits) -> Outcome:
    """Read a photograph and align its main face, or give the reason for skipping it; ``name`` is its relative path."""
    measured: dict[str, Any] = {}
    try:
        image = read_photograph(path)
        measured |= {"width": image.shape[1], "height": image.shape[0]}
        faces = aligner.faces(name, image)
        if not faces:
            raise RejectedPhotograph(aligner.no_face_reason)
        face = _main_face(faces, image.shape, limits, measured)
        pixels = align(image, face.points)
    except RejectedPhotograph as rejected:
        return Outcome(name, rejected.reason, **measured, detail=rejected.detail)
    measured |= {"size": round(face_size(face), 2), "sharpness": round(sharpness(pixels), 2)}
    found = Outcome(name, **measured, pixels=pixels)
    reason = next((reason for reason, applies in RULES if applies(found, limits)), "")
    return Outcome(name, reason, **measured) if reason else found


def _main_face(faces: tuple[Face, ...], shape: tuple[int, ...], limits: Limits, measured: dict[str, Any]) -> Face:
    """Return the main face; the number of faces and its score are added to ``measured``."""
    confident = [face for face in faces if face.score is None or face.score >= limits.score]
    chosen = choose_main_face(confident or faces, shape)
    measured |= {"faces": len(confident), "score": None if chosen.score is None else round(chosen.score, 4)}
    if not confident:
        raise RejectedPhotograph("low-score")
    others = [face for face in confident if face is not chosen and face.area >= MIN_RELATIVE_AREA * chosen.area]
    if others and not limits.several:
        raise RejectedPhotograph("several-faces")
    return chosen


def face_size(face: Face) -> float:
    """Return the side, in pixels of the photograph, of the square that becomes the 112x112 face."""
    matrix = similarity(face.points)
    return IMAGE_SHAPE[0] / math.hypot(matrix[0, 0], matrix[1, 0])


def sharpness(pixels: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian of an RGB image in squared grey levels (Pech-Pacheco et al., ICPR 2000)."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())
