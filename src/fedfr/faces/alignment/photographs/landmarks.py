"""Reading of landmark files: five points per image, detected by another program."""

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

MAX_COORDINATE, MIN_EXTENT = 1_000_000, 0.001
EXPECTED = "path, x1 y1 … x5 y5 and optionally a score, separated by tabs"


@dataclass(frozen=True)
class LandmarksFile:
    """Faces by the path of their image relative to the photographs, with ``/``, and the SHA-256 of the file."""

    faces: Mapping[str, Face]
    sha256: str


def read_landmarks(path: Path) -> LandmarksFile:
    """Read a UTF-8 file of one line per image: path, five points in the order of the template, optionally a score.

    Fields are separated by tabs. Points are pixels of the image as displayed, rotated according to its EXIF data.
    Raises :class:`FedfrError` naming the line for another form, points that are not finite or coincide, and an image
    that is listed twice.
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
            raise FedfrError(f"{path}, line {number}: {name} is listed twice; give each image one line")
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
    xs, ys = values[:10:2], values[1:10:2]
    if max(map(abs, values[:10])) > MAX_COORDINATE:
        raise ValueError(f"a coordinate exceeds {MAX_COORDINATE} pixels")
    if max(xs) - min(xs) < MIN_EXTENT and max(ys) - min(ys) < MIN_EXTENT:
        raise ValueError("the five points coincide")
    return name, Face(np.array(values[:10]).reshape(5, 2), values[10] if len(values) == 11 else None)


def _number(field: str) -> float:
    try:
        value = float(field)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{field!r} is not a number")
    return value
