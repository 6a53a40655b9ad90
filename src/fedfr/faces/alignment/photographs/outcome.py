"""Outcome for one photograph: an aligned face, or the reason for skipping it, with the measured values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

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

__all__ = ["RULES", "FoundFaces", "Limits", "Outcome", "align_photograph", "face_size", "sharpness"]

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


class Measured(Protocol):
    """Values of a face on which rules depend; None for values that were not determined."""

    @property
    def size(self) -> float | None:
        """Size as in :class:`Limits`."""
        ...

    @property
    def sharpness(self) -> float | None:
        """Sharpness as in :class:`Limits`."""
        ...


# The first rule that applies gives the reason.
RULES: tuple[tuple[str, Callable[[Measured, Limits], bool]], ...] = (
    ("too-small", lambda face, limits: face.size is not None and face.size < limits.size),
    ("too-blurred", lambda face, limits: face.sharpness is not None and face.sharpness < limits.sharpness),
)


@dataclass(frozen=True)
class FoundFaces:
    """Faces of a photograph: the main one, and all with at least the score of :class:`Limits`.

    The main face is the best of the ``confident`` ones; if there are none, of all.
    """

    main: Face
    confident: tuple[Face, ...]

    @classmethod
    def choose(cls, faces: Sequence[Face], shape: tuple[int, ...], limits: Limits) -> FoundFaces:
        """Choose among all detected ``faces``, at least one, of an image of this ``shape``."""
        confident = tuple(face for face in faces if face.score is None or face.score >= limits.score)
        return cls(choose_main_face(confident or faces, shape), confident)

    def reason(self, face: Face, limits: Limits) -> str:
        """Return ``low-score`` or ``several-faces`` if ``face`` cannot be used; empty otherwise."""
        if all(face is not other for other in self.confident):
            return "low-score"
        others = (other for other in self.confident if other is not face)
        if not limits.several and any(other.area >= MIN_RELATIVE_AREA * face.area for other in others):
            return "several-faces"
        return ""


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
    found = FoundFaces.choose(faces, shape, limits)
    score = found.main.score
    measured |= {"faces": len(found.confident), "score": None if score is None else round(score, 4)}
    reason = found.reason(found.main, limits)
    if reason:
        raise RejectedPhotograph(reason)
    return found.main


def face_size(face: Face) -> float:
    """Return the side, in pixels of the photograph, of the square that becomes the 112x112 face."""
    matrix = similarity(face.points)
    return IMAGE_SHAPE[0] / math.hypot(matrix[0, 0], matrix[1, 0])


def sharpness(pixels: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian of an RGB image in squared grey levels (Pech-Pacheco et al., ICPR 2000)."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())
