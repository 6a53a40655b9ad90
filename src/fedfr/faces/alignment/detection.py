"""Detection of faces and their five landmarks with YuNet, in images of any size."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces.encoded_images import silence_opencv, swap_colours

__all__ = ["KNOWN_DETECTORS", "MIN_SCORE", "Detector", "DetectorFile", "Face", "choose_main_face", "open_detector"]

KNOWN_DETECTORS = {
    "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10": "face_detection_yunet_2023mar_int8bq.onnx",
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4": "face_detection_yunet_2023mar.onnx",
    "d0405ddda91a261af340e087219dfbac26cea1575aab2ccb7f2ed41e20708a82": "face_detection_yunet_2023mar_int8.onnx",
}
"""SHA-256 of the files in OpenCV's model zoo, from its Git LFS pointers in models/face_detection_yunet."""

MIN_SCORE = 0.3
"""Minimum score at which the detector reports a face; between this and an importer's limit a score counts as low."""

_OVERLAP, _MAX_CANDIDATES = 0.3, 5000  # non-maximum suppression and candidates: the defaults of OpenCV's FaceDetectorYN
# YuNet was trained on faces of 10 to 300 pixels (its README). A face that fills 640 pixels is detected at 320.
_SIDES = (640, 320)
_CONFIDENT_SCORE = 0.8
# Measured on LFW: the points of a face 16 pixels wide scatter by 10 % of the distance of the eyes, of 24 by 5 %, from
# 40 to 140 by 3 %. So a face that is small because the photograph was scaled down is detected again at a larger scale:
# on LFW faces in 12 megapixels (15 pixels when scaled down) the error is 8 % with this refinement, 28 % without.
_SMALL_FACE, _REFINED_FACE = 90, 140


@dataclass(frozen=True)
class Face:
    """A detected face: five landmarks (5, 2) in the order of the template, score 0 … 1, and box (x, y, width, height).

    Coordinates are pixels of the image; a box may extend beyond it. A face from a landmarks file has no box and
    possibly no score.
    """

    points: NDArray[np.float64]
    score: float | None = None
    box: tuple[float, float, float, float] | None = None

    @property
    def area(self) -> float:
        """Area of the box in square pixels; 0 without one."""
        return 0.0 if self.box is None else self.box[2] * self.box[3]


def choose_main_face(faces: Sequence[Face], shape: tuple[int, ...]) -> Face:
    """Return the main face of a photograph, the one with the greatest A·(1 - d/D).

    A is the area of the box, d the distance of its centre from the image centre and D that of a corner, so the weight
    is A in the centre and 0 in a corner. ``shape`` begins with height and width. Raises ``ValueError`` if there are no
    faces.
    """
    half_diagonal = math.hypot(shape[1], shape[0]) / 2

    def weight(face: Face) -> float:
        if face.box is None:
            return 0.0
        x, y, width, height = face.box
        distance = math.hypot(x + width / 2 - shape[1] / 2, y + height / 2 - shape[0] / 2)
        return face.area * (1 - distance / half_diagonal)

    return max(faces, key=weight)


@dataclass(frozen=True)
class DetectorFile:
    """Content of a verified model file, from which every thread creates its own :class:`Detector`."""

    path: Path
    content: bytes
    sha256: str


def open_detector(path: Path, confirmed: str | None = None) -> DetectorFile:
    """Read a YuNet model (.onnx) whose SHA-256 is among :data:`KNOWN_DETECTORS` or equals ``confirmed``.

    Raises :class:`FedfrError` for any other file, since a tampered detector could hide or invent faces, and for one
    that OpenCV cannot load.

    >>> from pathlib import Path
    >>> from fedfr.faces import Detector, open_detector
    >>> model = Path("face_detection_yunet_2023mar.onnx")  # from OpenCV's model zoo
    >>> detector = Detector(open_detector(model)) if model.is_file() else None
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FedfrError(f"cannot read the detector {path}: {error.strerror or error}; check the path") from error
    found = hashlib.sha256(content).hexdigest()
    if confirmed is not None and confirmed.lower() != found:
        raise FedfrError(f"{path} has SHA-256 {found}, not {confirmed} as confirmed; fetch the detector again")
    if confirmed is None and found not in KNOWN_DETECTORS:
        raise FedfrError(
            f"{path} has SHA-256 {found}, which is not a known detector ({', '.join(KNOWN_DETECTORS.values())}); "
            f"fetch it again or, if you trust it, confirm it with --detector-sha256 {found}"
        )
    file = DetectorFile(path, content, found)
    Detector(file)
    return file


class Detector:
    """YuNet face detector in OpenCV, for one thread at a time.

    Raises :class:`FedfrError` if OpenCV cannot load the file.

    >>> from pathlib import Path
    >>> import numpy as np
    >>> from fedfr.faces import Detector, align, open_detector
    >>> model, image = Path("face_detection_yunet_2023mar.onnx"), np.zeros((480, 640, 3), np.uint8)
    >>> if model.is_file():
    ...     aligned = [align(image, face.points) for face in Detector(open_detector(model)).find(image)]
    """

    def __init__(self, file: DetectorFile) -> None:
        buffer = np.frombuffer(file.content, dtype=np.uint8)
        try:
            with silence_opencv():
                # From memory, so that exactly the hashed content runs and the path may hold any character.
                self._net = cv2.FaceDetectorYN.create(
                    "onnx", buffer, np.empty(0, np.uint8), (320, 320), MIN_SCORE, _OVERLAP, _MAX_CANDIDATES
                )
                self._detect(np.zeros((32, 32, 3), np.uint8))
        except (cv2.error, SystemError, ValueError) as error:
            raise FedfrError(f"OpenCV cannot use {file.path} as a YuNet detector; fetch an .onnx of YuNet") from error

    def find(self, image: NDArray[np.uint8]) -> tuple[Face, ...]:
        """Return all faces of a uint8 RGB image (height, width, 3) with a score of 0.3 or more, best first.

        The image is reduced to 640 pixels, and also to 320 if the best score is low; the better result is used. Faces
        smaller than 90 pixels are detected again in their surroundings, scaled to at most 140 pixels.
        """
        found = self._detect_reduced(image, _SIDES[0])
        if max(image.shape[:2]) > _SIDES[1] and _best_score(found) < _CONFIDENT_SCORE:
            found = max(found, self._detect_reduced(image, _SIDES[1]), key=_best_score)
        return found

    def _detect_reduced(self, image: NDArray[np.uint8], side: int) -> tuple[Face, ...]:
        scale = min(1.0, side / max(image.shape[:2]))
        found = self._detect_at(image, scale)
        if scale == 1.0:
            return found
        return tuple(self._refined(image, face) if face.area < (_SMALL_FACE / scale) ** 2 else face for face in found)

    def _refined(self, image: NDArray[np.uint8], face: Face) -> Face:
        """Detect a face again in a crop of twice its size; returns it unchanged if it is not detected there."""
        assert face.box is not None
        x, y, width, height = face.box
        size = max(width, height)
        left, top = (max(0, int(middle - size)) for middle in (x + width / 2, y + height / 2))
        part = image[top : int(top + 2 * size) + 1, left : int(left + 2 * size) + 1]
        if not part.size:
            return face
        scale = min(1.0, _REFINED_FACE / size)
        nearby = (_translated(other, left, top, face.score) for other in self._detect_at(part, scale))
        same = [other for other in nearby if _overlap(face, other) > _OVERLAP]
        return max(same, key=lambda other: _overlap(face, other), default=face)

    def _detect_at(self, image: NDArray[np.uint8], scale: float) -> tuple[Face, ...]:
        height, width = image.shape[:2]
        small = image
        if scale < 1.0:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            small = _shrunk(image, size)
        by = np.array([small.shape[1] / width, small.shape[0] / height])
        faces = []
        for row in self._detect(swap_colours(small)):
            corner, extent = row[:2] / by, row[2:4] / by
            # Pixel centres, as cv2.resize has them.
            points = (row[4:14].reshape(5, 2) + 0.5) / by - 0.5
            if np.ptp(points, axis=0).max() > 0.001:  # coinciding points do not determine an alignment
                faces.append(Face(points, float(row[14]), (*corner.tolist(), *extent.tolist())))
        return tuple(sorted(faces, key=lambda face: -(face.score or 0.0)))

    def _detect(self, bgr: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the finite detections (n, 15): x, y, width, height, ten coordinates and the score."""
        with silence_opencv():
            self._net.setInputSize((bgr.shape[1], bgr.shape[0]))
            _, rows = self._net.detect(bgr)
        if rows is None:
            return np.empty((0, 15))
        found = np.asarray(rows, dtype=np.float64)
        return found[np.isfinite(found).all(axis=1)]


def _shrunk(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Reduce an image to ``size`` (width, height) by area averaging.

    An image of at least four times the size is halved before, since OpenCV averages whole pixels ten times as fast as
    fractions of them; in a photograph of that size, pixels change by a grey level or two.
    """
    while all(now % 2 == 0 and now >= 4 * wanted for now, wanted in zip(image.shape[1::-1], size, strict=True)):
        half = image.shape[1] // 2, image.shape[0] // 2
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _best_score(faces: Sequence[Face]) -> float:
    return max((face.score or 0.0 for face in faces), default=0.0)


def _translated(face: Face, left: int, top: int, score: float | None) -> Face:
    """Convert a face from coordinates of a crop to those of the image, with another score."""
    assert face.box is not None
    x, y, width, height = face.box
    return Face(face.points + np.array([left, top]), score, (x + left, y + top, width, height))


def _overlap(one: Face, other: Face) -> float:
    """Return the intersection over union of two boxes; 0 without a box."""
    if one.box is None or other.box is None:
        return 0.0
    sides = [
        min(one.box[at] + one.box[at + 2], other.box[at] + other.box[at + 2]) - max(one.box[at], other.box[at])
        for at in (0, 1)
    ]
    both = max(0.0, sides[0]) * max(0.0, sides[1])
    return both / (one.area + other.area - both)
