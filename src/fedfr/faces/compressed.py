"""Compressed pictures in memory: to RGB, from any number of threads at once, and back."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fedfr.errors import FedfrError
from fedfr.faces.pixels import IMAGE_SHAPE

__all__ = ["MOST_PIXELS", "decode", "decode_picture", "encode", "is_damaged_png", "picture_size", "quietly", "resize"]

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
MOST_PIXELS = 1 << 26
"""A picture that announces more (64 megapixels) is not a face but a bomb."""


class _Quiet:
    """How many are decoding now; the first silences OpenCV, the last gives it back its voice."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.level = 0


_QUIET = _Quiet()


@contextmanager
def quietly() -> Iterator[None]:
    """Keep OpenCV from logging what it cannot decode to stderr: the caller's one-line error says it better."""
    with _QUIET.lock:
        if _QUIET.users == 0:
            _QUIET.level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        _QUIET.users += 1
    try:
        yield
    finally:
        with _QUIET.lock:
            _QUIET.users -= 1
            if _QUIET.users == 0:
                cv2.utils.logging.setLogLevel(_QUIET.level)


def decode(content: NDArray[np.uint8], flags: int) -> NDArray[Any] | None:
    """What OpenCV makes of a whole picture file, BGR where it has colours; None where it cannot."""
    with quietly():
        try:
            return cv2.imdecode(content, flags)
        except cv2.error:
            return None


def decode_picture(content: bytes) -> NDArray[np.uint8]:
    """A JPEG or PNG as RGB of its own size; raises ``ValueError`` saying why it is none."""
    size = picture_size(content)
    if size is None:
        raise ValueError(f"holds no JPEG or PNG (it starts with {content[:4].hex(' ') or 'nothing'})")
    if size[0] * size[1] > MOST_PIXELS:
        raise ValueError(f"holds a picture of {size[1]}x{size[0]}, far more than a face")
    bgr = None if is_damaged_png(content) else decode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("holds a picture that cannot be decoded")
    return np.ascontiguousarray(bgr[:, :, ::-1])


def encode(image: NDArray[np.uint8], suffix: str, options: Sequence[int] = ()) -> bytes:
    """An RGB picture (height, width, 3) as ``.png`` or ``.jpg``, with OpenCV's ``options``."""
    done, content = cv2.imencode(suffix, np.ascontiguousarray(image[:, :, ::-1]), options)
    if not done:
        raise FedfrError(f"OpenCV could not encode a picture as {suffix}; install its usual build")
    return content.tobytes()


def is_damaged_png(content: bytes | memoryview) -> bool:
    """Whether a PNG lacks its end or a chunk that matters has another CRC: libpng would print to stderr, then fail."""
    if bytes(content[:4]) != PNG[:4]:
        return False
    view, at, kind = memoryview(content), len(PNG), b""
    while kind != b"IEND":
        length, kind = int.from_bytes(view[at : at + 4], "big"), bytes(view[at + 4 : at + 8])
        end = at + 8 + length
        if end + 4 > len(content):
            return True
        critical = kind[:1].isupper()
        if critical and zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return True
        at = end + 4
    return False


def picture_size(content: bytes) -> tuple[int, int] | None:
    """Height and width that a JPEG or PNG announces, read before memory is given to it; None for anything else."""
    if content.startswith(PNG):
        if len(content) < 24:
            return None
        width, height = struct.unpack_from(">II", content, 16)
        return height, width
    return _jpeg_size(content) if content.startswith(JPEG) else None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """The frame header (markers C0 … CF but DHT, JPG and DAC; ITU-T T.81, B.2.2) comes before the first scan."""
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:  # fill bytes may stand before a marker
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", content, at + 5)
            return height, width
        at += 2 + max(2, int.from_bytes(content[at + 2 : at + 4], "big"))
    return None


def resize(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize to 112x112 whatever the aspect ratio: a side that is too long by area averaging, too short bilinearly."""
    for width, height, method in (
        (min(image.shape[1], IMAGE_SHAPE[1]), min(image.shape[0], IMAGE_SHAPE[0]), cv2.INTER_AREA),
        (IMAGE_SHAPE[1], IMAGE_SHAPE[0], cv2.INTER_LINEAR),
    ):
        if image.shape[:2] != (height, width):
            image = np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.uint8)
    return image
