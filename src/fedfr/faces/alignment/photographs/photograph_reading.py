"""Reading of untrusted photographs with bounded memory."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.alignment.photographs.reasons import RejectedPhotograph
from fedfr.faces.image_headers import JPEG, any_image_size
from fedfr.faces.readers.image_reading import to_rgb

__all__ = ["MAX_BYTES", "MAX_PHOTOGRAPH_PIXELS", "PhotographLimits", "decode_photograph", "read_photograph"]

MAX_PHOTOGRAPH_PIXELS = 120_000_000
"""Greatest number of pixels; phones take images of 108 megapixels, and decoding needs about 6 bytes per pixel."""
MAX_BYTES = 1 << 29
_MAX_SCANS = 30
_START_OF_SCAN = b"\xff\xda"


@dataclass(frozen=True)
class PhotographLimits:
    """Limits of a photograph file: its ``bytes``, and its ``pixels`` according to its header."""

    bytes: int = MAX_BYTES
    pixels: int = MAX_PHOTOGRAPH_PIXELS

    def check_bytes(self, count: int) -> None:
        """Raise :class:`RejectedPhotograph` with reason ``too-large`` for a file of more bytes."""
        if count > self.bytes:
            raise RejectedPhotograph("too-large", f"{count} bytes; at most {self.bytes} are read")

    def check_pixels(self, height: int, width: int) -> None:
        """Raise :class:`RejectedPhotograph` with reason ``too-large`` for an image of more pixels."""
        if height * width > self.pixels:
            raise RejectedPhotograph("too-large", f"{width}x{height} pixels; at most {self.pixels} are decoded")


_FILES = PhotographLimits()


def read_photograph(path: Path, limits: PhotographLimits = _FILES) -> NDArray[np.uint8]:
    """Read a photograph as uint8 RGB (height, width, 3), rotated according to its EXIF data; grey is repeated.

    Raises :class:`RejectedPhotograph` with reason ``too-large``, by file size and header and before memory is
    allocated, or ``unreadable``.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # reading a pipe would block
            raise RejectedPhotograph("unreadable", "not a regular file")
        limits.check_bytes(found.st_size)
        content = path.read_bytes()
    except OSError as error:
        raise RejectedPhotograph("unreadable", error.strerror or str(error)) from error
    except ValueError as error:
        raise RejectedPhotograph("unreadable", "not a valid path") from error
    return decode_photograph(content, limits)


def decode_photograph(content: bytes, limits: PhotographLimits = _FILES) -> NDArray[np.uint8]:
    """Decode the content of a photograph file, as :func:`read_photograph` does.

    Of an animation, the first image is decoded. Transparency is dropped, 16 bits are reduced to 8 and CMYK is converted
    to RGB.
    """
    limits.check_bytes(len(content))
    size = any_image_size(content)
    if size is None:
        raise RejectedPhotograph("unreadable", "not an image of a known format" if content else "empty")
    limits.check_pixels(*size)
    # Each scan of a progressive JPEG is decoded over the whole image: thousands of empty ones take minutes. Encoders
    # write about ten.
    if content.startswith(JPEG) and content.count(_START_OF_SCAN) > _MAX_SCANS:
        raise RejectedPhotograph("unreadable", f"a JPEG of more than {_MAX_SCANS} scans")
    try:
        return to_rgb(content, limits.pixels)
    except ValueError as error:
        raise RejectedPhotograph("unreadable", "damaged or truncated") from error
