"""Reading of landmark files: five points per face, detected by another program."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedfr.core.errors import FedfrError
from fedfr.faces.alignment.detection import Face

__all__ = ["LandmarksFile", "read_landmarks"]

FARTHEST, NEAREST = 1_000_000, 0.001
EXPECTED = "path, x1 y1 … x5 y5 and perhaps a score, separated by tabs"


@dataclass(frozen=True)
class LandmarksFile:
    """The face of each image by its path below the photographs, ``/`` between folders; SHA-256 of the file."""

    faces: Mapping[str, Face]
    sha256: str


def read_landmarks(path: Path) -> LandmarksFile:
    """Read one line per image: path, five points in the template's order, perhaps a score; UTF-8, tabs between.

    Points are pixels of the image as it is shown, turned as its EXIF data say. Raises :class:`FedfrError` naming the
    line for anything else, for points that are not finite or coincide, and for an image named twice.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FedfrError(f"cannot read the landmarks {path}: {error.strerror or error}; check the path") from error
    faces: dict[str, Face] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            name, face = _parse(line)
        except ValueError as error:
            raise FedfrError(f"{path}, line {number}: {error}; expected {EXPECTED}") from error
        if name in faces:
            raise FedfrError(f"{path}, line {number}: {name} stands there twice; give each image one line")
        faces[name] = face
    if not faces:
        raise FedfrError(f"{path} holds no landmarks; expected lines of {EXPECTED}")
    return LandmarksFile(faces, hashlib.sha256(content).hexdigest())


def _parse(line: bytes) -> tuple[str, Face]:
    try:
        name, *fields = line.decode("utf-8").split("\t")
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8") from error
    if len(fields) not in (10, 11):
        raise ValueError(f"found {len(fields)} values after the path")
    if not name:
        raise ValueError("the path is missing")
    values = [_number(field) for field in fields]
    across, down = values[:10:2], values[1:10:2]
    if max(map(abs, values[:10])) > FARTHEST:
        raise ValueError(f"a point lies more than {FARTHEST} pixels away")
    if max(across) - min(across) < NEAREST and max(down) - min(down) < NEAREST:
        raise ValueError("the five points coincide")
    return name, Face(np.array(values[:10]).reshape(5, 2), values[10] if len(values) == 11 else None)


def _number(field: str) -> float:
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{field!r} is no number")
    return value
