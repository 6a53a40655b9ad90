"""Quality of a face in a photo: measured values, and gates that say why a face is not good enough."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fedfr.core.registry import Entry, Registry
from fedfr.faces.alignment.detection import Face
from fedfr.faces.alignment.photographs.outcome import RULES as PHOTOGRAPH_RULES
from fedfr.faces.alignment.photographs.outcome import Limits, face_size, sharpness
from fedfr.faces.alignment.template import similarity
from fedfr.faces.pixels import IMAGE_SHAPE

__all__ = ["GATES", "Gate", "Pose", "Quality", "estimate_pose", "measure_quality"]

# Of an adult's head: 62 mm from pupil to pupil, 72 mm from the eyes to the mouth (their ratio in the template), and the
# tip of the nose 26 mm in front of the plane through eyes and corners of the mouth.
_NOSE_DEPTH = 26 / 62
_EYES_TO_MOUTH = 72 / 62
# Where the nose of a frontal face lies between eyes (0) and mouth (1): the median of YuNet's points on LFW.
_NOSE_LEVEL = 0.56
# Part of the aligned crop that shows the face and hardly any background.
_ROWS, _COLUMNS = slice(24, 104), slice(24, 88)
_OVEREXPOSED = 250


@dataclass(frozen=True)
class Pose:
    """Rotation of a head in degrees, as seen in the image: yaw to the right, pitch down, and roll clockwise."""

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True)
class Quality:
    """Measured values of a face; None where the photo is an aligned crop without landmarks.

    ``score`` of the detector, ``size`` and ``sharpness`` are those of
    :class:`~fedfr.faces.alignment.photographs.Limits`; ``yaw``, ``pitch`` and ``roll`` those of :func:`estimate_pose`.
    ``detail`` is the least variance of the second differences of grey levels in four directions: unlike ``sharpness``
    it is low for motion blur, too.
    ``shadows`` and ``highlights`` are the 5th and 95th percentiles of the grey levels of the face, ``overexposed`` the
    share of its pixels of at least 250. ``outside`` is the share of the aligned crop outside the image.
    """

    sharpness: float
    detail: float
    shadows: float
    highlights: float
    overexposed: float
    score: float | None = None
    size: float | None = None
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    outside: float | None = None

    @property
    def contrast(self) -> float:
        """Difference of highlights and shadows in grey levels."""
        return self.highlights - self.shadows

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        values = asdict(self) | {"contrast": self.contrast}
        return {name: None if value is None else round(value, 4) for name, value in values.items()}


@dataclass(frozen=True)
class Gate:
    """Requirements for a face: ``limits`` as for imported photographs, and those of pose, exposure and border.

    ``yaw``, ``pitch`` and ``roll`` are the greatest angles in degrees, ``shadows``, ``overexposed`` and ``outside`` the
    greatest values, and ``highlights``, ``contrast`` and ``detail`` the least values of :class:`Quality`.

    >>> import numpy as np
    >>> from fedfr.recognition import GATES, measure_quality
    >>> black = np.zeros((112, 112, 3), np.uint8)
    >>> GATES["standard"].reasons(measure_quality(black))
    ('too-dark', 'low-contrast', 'too-blurred')
    """

    limits: Limits
    yaw: float = 180.0
    pitch: float = 180.0
    roll: float = 180.0
    highlights: float = 0.0
    shadows: float = 255.0
    overexposed: float = 1.0
    contrast: float = 0.0
    detail: float = 0.0
    outside: float = 1.0

    def reasons(self, quality: Quality) -> tuple[str, ...]:
        """Return the codes of all rules that reject a face, keys of :data:`~fedfr.recognition.REASONS`."""
        own = [code for code, applies in _RULES if applies(quality, self)]
        shared = [code for code, applies in PHOTOGRAPH_RULES if applies(quality, self.limits)]
        return tuple(dict.fromkeys([*own, *shared]))


_RULES: tuple[tuple[str, Callable[[Quality, Gate], bool]], ...] = (
    ("at-border", lambda face, gate: (face.outside or 0.0) > gate.outside),
    ("rotated", lambda face, gate: abs(face.roll or 0.0) > gate.roll),
    ("pose", lambda face, gate: abs(face.yaw or 0.0) > gate.yaw or abs(face.pitch or 0.0) > gate.pitch),
    ("too-dark", lambda face, gate: face.highlights < gate.highlights),
    ("too-bright", lambda face, gate: face.shadows > gate.shadows or face.overexposed > gate.overexposed),
    ("low-contrast", lambda face, gate: face.contrast < gate.contrast),
    ("too-blurred", lambda face, gate: face.detail < gate.detail),
)

GATES: Registry[Gate] = Registry(
    "quality gate",
    (
        Entry(
            "strict",
            Gate(
                Limits(score=0.8, size=80.0, sharpness=25.0, several=False),
                yaw=30.0,
                pitch=15.0,
                roll=20.0,
                highlights=100.0,
                shadows=140.0,
                overexposed=0.1,
                contrast=60.0,
                detail=8.0,
                outside=0.02,
            ),
            "sharp, frontal, well lit faces, for enrolment under supervision",
        ),
        Entry(
            "standard",
            Gate(
                Limits(several=False),
                yaw=47.0,
                pitch=22.0,
                roll=45.0,
                highlights=64.0,
                shadows=180.0,
                overexposed=0.35,
                contrast=32.0,
                detail=4.0,
                outside=0.1,
            ),
            "faces in ordinary photographs",
        ),
        Entry(
            "off",
            Gate(Limits(size=0.0, sharpness=0.0, several=False)),
            "any photo with exactly one face",
        ),
    ),
)


def measure_quality(
    crop: NDArray[np.uint8], face: Face | None = None, shape: tuple[int, ...] = (), turned: int = 0
) -> Quality:
    """Measure an aligned ``crop`` (112, 112, 3) of a ``face`` in an image of this ``shape``.

    ``turned`` is added to the roll: the landmarks of a face that is not upright do not tell it.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    inner = grey[_ROWS, _COLUMNS]
    shadows, highlights = np.percentile(inner, (5, 95)).tolist()
    light = Quality(sharpness(crop), _detail(grey), shadows, highlights, float((inner >= _OVEREXPOSED).mean()))
    if face is None:
        return light
    pose = estimate_pose(face.points)
    roll = (pose.roll + turned + 180) % 360 - 180
    return replace(
        light,
        score=face.score,
        size=face_size(face),
        yaw=pose.yaw,
        pitch=pose.pitch,
        roll=roll,
        outside=_outside(face, shape),
    )


def _detail(grey: NDArray[Any]) -> float:
    levels = grey.astype(np.float32)
    middle = 2 * levels[1:-1, 1:-1]
    pairs = (
        (levels[1:-1, 2:], levels[1:-1, :-2]),
        (levels[2:, 1:-1], levels[:-2, 1:-1]),
        (levels[2:, 2:], levels[:-2, :-2]),
        (levels[2:, :-2], levels[:-2, 2:]),
    )
    return min(float((one + other - middle).var()) for one, other in pairs)


def estimate_pose(points: NDArray[np.float64]) -> Pose:
    """Estimate the rotation of a head from five landmarks (5, 2) in the order of the alignment template.

    The tip of the nose lies in front of the plane through eyes and mouth, and moves across it when the head turns. Let
    E and M be the middles of the eyes and of the mouth, a the vector from the left to the right eye, and nose =
    E + level·(M − E) + side·a. Then tan(yaw) = side / 0.42 and tan(pitch) = (level − 0.56)·1.16 / 0.42, with the
    nose's distance from the plane and the distance from eyes to mouth in distances of the eyes, and the nose's level in
    a frontal face. Roll is the rotation of the alignment. Orthographic projection of an average face: for one person,
    angles may differ by 10 degrees.

    >>> import numpy as np
    >>> from fedfr.recognition import estimate_pose
    >>> pose = estimate_pose(np.array([(38.0, 52), (74, 52), (62, 74.9), (42, 93), (70, 93)]))
    >>> round(pose.yaw), round(pose.pitch), round(pose.roll)
    (22, 0, 0)
    """
    left, right, nose, *mouth = points
    eyes = (left + right) / 2
    down, across = (mouth[0] + mouth[1]) / 2 - eyes, right - left
    matrix = similarity(points)
    roll = -math.degrees(math.atan2(matrix[1, 0], matrix[0, 0]))
    determinant = float(down[0] * across[1] - down[1] * across[0])
    if abs(determinant) < 1e-6:  # all five points on a line: seen from the side, or not a face
        return Pose(90.0, 0.0, roll)
    from_eyes = nose - eyes
    level = float(from_eyes[0] * across[1] - from_eyes[1] * across[0]) / determinant
    side = float(down[0] * from_eyes[1] - down[1] * from_eyes[0]) / determinant
    yaw = math.degrees(math.atan(side / _NOSE_DEPTH))
    pitch = math.degrees(math.atan((level - _NOSE_LEVEL) * _EYES_TO_MOUTH / _NOSE_DEPTH))
    return Pose(yaw, pitch, roll)


def _outside(face: Face, shape: tuple[int, ...]) -> float:
    """Return the share of the aligned crop that lies outside the image."""
    height, width = IMAGE_SHAPE[:2]
    matrix = similarity(face.points)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64) - 0.5
    square = ((corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T).astype(np.float32)
    image = (np.array([[0, 0], [shape[1], 0], [shape[1], shape[0]], [0, shape[0]]]) - 0.5).astype(np.float32)
    common, _ = cv2.intersectConvexConvex(square, image)
    whole = height * width * abs(float(np.linalg.det(np.linalg.inv(matrix[:, :2]))))
    return min(1.0, max(0.0, 1.0 - float(common) / whole))
