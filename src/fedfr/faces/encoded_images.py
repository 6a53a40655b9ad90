"""Decoding and encoding of compressed images in memory; safe for concurrent threads."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces.image_headers import JPEG, PNG, image_size
from fedfr.faces.pixels import IMAGE_SHAPE
from fedfr.faces.truncated_jpeg import decode_without_end_marker, lacks_end_marker

__all__ = [
    "MAX_PIXELS",
    "check_pixels",
    "decode",
    "decode_image",
    "decode_rgb",
    "encode_image",
    "resize",
    "silence_opencv",
    "swap_colours",
]

MAX_PIXELS = 1 << 26
"""Greatest number of pixels (64 megapixels) that are decoded; larger headers point to a decompression bomb."""


class _LogLevel:
    """Count of concurrent decoders: the first turns OpenCV's log off, the last restores its level."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.level = 0


_LOG_LEVEL = _LogLevel()
# OpenCV before 4.13 has it under another name, and newer ones under this alone. 0 is silence.
_set_log_level: Callable[[int], int] = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
_SILENT = 0
# Not in OpenCV before 4.11.
_COLOR_RGB: int | None = getattr(cv2, "IMREAD_COLOR_RGB", None)


@contextmanager
def silence_opencv() -> Iterator[None]:
    """Turn off OpenCV's log to stderr within the block; the caller raises a one-line error instead."""
    with _LOG_LEVEL.lock:
        if _LOG_LEVEL.users == 0:
            _LOG_LEVEL.level = _set_log_level(_SILENT)
        _LOG_LEVEL.users += 1
    try:
        yield
    finally:
        with _LOG_LEVEL.lock:
            _LOG_LEVEL.users -= 1
            if _LOG_LEVEL.users == 0:
                _set_log_level(_LOG_LEVEL.level)


def decode(content: NDArray[np.uint8], flags: int) -> NDArray[Any] | None:
    """Decode an image file with OpenCV, colours in BGR order; returns None where OpenCV cannot."""
    with silence_opencv():
        try:
            return cv2.imdecode(content, flags)
        except cv2.error:
            return None


def swap_colours(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image (height, width, 3) with its colours in the opposite order, BGR as RGB and RGB as BGR.

    OpenCV copies several times as fast as NumPy.
    """
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def decode_rgb(content: bytes) -> NDArray[np.uint8]:
    """Decode an image of any type that OpenCV reads to uint8 RGB (height, width, 3).

    A JPEG without an end marker counts as complete if no pixels are missing. The caller checks the announced size.
    Raises ``ValueError`` with the reason for anything else.
    """
    if _is_damaged_png(content):
        raise ValueError("holds an image that is corrupt or truncated")
    # Of a JPEG, OpenCV decodes to RGB at once; of 12 megapixels, a copy takes as long as decoding.
    flags = cv2.IMREAD_COLOR if _COLOR_RGB is None or not content.startswith(JPEG) else _COLOR_RGB
    if lacks_end_marker(content):
        image = decode_without_end_marker(content, lambda given: decode(given, flags))
        if image is None:
            raise ValueError("holds a truncated JPEG")
    else:
        image = decode(np.frombuffer(content, np.uint8), flags)
    if image is None:
        raise ValueError("holds an image that is corrupt or truncated")
    return swap_colours(image) if flags == cv2.IMREAD_COLOR else image


def check_pixels(size: tuple[int, int], max_pixels: int = MAX_PIXELS) -> None:
    """Raise ``ValueError`` for an image size (height, width) of more than ``max_pixels`` pixels."""
    if size[0] * size[1] > max_pixels:
        raise ValueError(f"holds an image of {size[1]}x{size[0]} pixels; at most {max_pixels} are decoded")


def decode_image(content: bytes) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG to uint8 RGB (height, width, 3); raises ``ValueError`` with the reason."""
    size = image_size(content)
    if size is None:
        raise ValueError(f"holds no JPEG or PNG (it starts with {content[:4].hex(' ') or 'nothing'})")
    check_pixels(size)
    return decode_rgb(content)


def encode_image(image: NDArray[np.uint8], suffix: str, options: Sequence[int] = ()) -> bytes:
    """Encode an RGB image (height, width, 3) as ``.png`` or ``.jpg`` with OpenCV's ``options``."""
    done, content = cv2.imencode(suffix, swap_colours(image), options)
    if not done:
        raise FedfrError(f"OpenCV could not encode an image as {suffix}; install the standard build of OpenCV")
    return content.tobytes()


def _is_damaged_png(content: bytes | memoryview) -> bool:
    """Whether a PNG lacks its end or a critical chunk has a wrong CRC; libpng would print to stderr before it fails."""
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


def resize(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize to 112x112, ignoring the aspect ratio.

    Sides that shrink are area-averaged, sides that grow interpolated bilinearly.
    """
    for width, height, method in (
        (min(image.shape[1], IMAGE_SHAPE[1]), min(image.shape[0], IMAGE_SHAPE[0]), cv2.INTER_AREA),
        (IMAGE_SHAPE[1], IMAGE_SHAPE[0], cv2.INTER_LINEAR),
    ):
        if image.shape[:2] != (height, width):
            image = np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.uint8)
    return image
