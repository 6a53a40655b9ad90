"""Images and lists for tests of photographs: smooth random colours, landmarks at given positions."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedfr.faces.alignment.detection import Face
from fedfr.faces.alignment.photographs.landmarks import read_landmarks
from fedfr.faces.alignment.template import ARCFACE_TEMPLATE

YUNET = "face_detection_yunet_2023mar_int8bq.onnx"


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Random colours a few pixels wide."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def save(path: Path, rgb: NDArray[np.uint8]) -> Path:
    """Write an image in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix.lower(), rgb[..., ::-1])[1].tobytes())
    return path


def people(folder: Path, counts: Mapping[str, int], size: int = 160) -> list[str]:
    """``counts`` images of each identity, all different, as PNG; their names in order."""
    names = [f"{identity}/{number}.png" for identity in sorted(counts) for number in range(counts[identity])]
    for seed, name in enumerate(names):
        save(folder / name, texture(size, size, seed))
    return names


def landmarks_file(path: Path, names: Sequence[str], points: ArrayLike | None = None) -> Path:
    """A file with the same five points for every name, by default around the middle of 160 pixels."""
    given = ARCFACE_TEMPLATE + 20 if points is None else np.asarray(points)
    numbers = "\t".join(repr(float(value)) for value in given.ravel())
    path.write_text("".join(f"{name}\t{numbers}\t0.9\n" for name in names), encoding="utf-8")
    return path


@cache
def lfw_landmarks(data_dir: Path) -> dict[str, Face]:
    """The known landmarks of the 56 original images."""
    sample = data_dir / "lfw250_sample"
    names = sorted(path.relative_to(sample).as_posix() for path in sample.glob("*/*.jpg"))
    known = read_landmarks(data_dir / "lfw250_landmarks.tsv").faces
    return {name: known[name] for name in names}


def png_header(width: int, height: int) -> bytes:
    """Return an RGB PNG that declares its size and has almost no content."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Return the JPEG with an EXIF orientation (TIFF tag 0x0112, one SHORT)."""
    directory = struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    content = b"Exif\x00\x00" + b"MM\x00\x2a" + struct.pack(">I", 8) + directory
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]
