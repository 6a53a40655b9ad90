"""Reading of untrusted photographs with bounded memory."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.alignment.photographs.reasons import RejectedPhotograph
from fedfr.faces.image_headers import any_image_size
from fedfr.faces.readers.image_reading import to_rgb

__all__ = ["MAX_BYTES", "MAX_PHOTOGRAPH_PIXELS", "read_photograph"]

MAX_PHOTOGRAPH_PIXELS = 120_000_000
"""Telephones make images of 108 million; decoding one takes about 6 bytes for each pixel."""
MAX_BYTES = 1 << 29


def read_photograph(path: Path) -> NDArray[np.uint8]:
    """Read a photograph as uint8 RGB (height, width, 3), rotated as its EXIF data say; grey is repeated.

    Raises :class:`RejectedPhotograph` with reason ``too-large``, judged by file size and header before memory is
    allocated, or ``unreadable``.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
            raise RejectedPhotograph("unreadable", "no regular file")
        if found.st_size > MAX_BYTES:
            raise RejectedPhotograph("too-large", f"{found.st_size} bytes; at most {MAX_BYTES} are read")
        content = path.read_bytes()
    except OSError as error:
        raise RejectedPhotograph("unreadable", error.strerror or str(error)) from error
    announced = any_image_size(content)
    if announced is None:
        raise RejectedPhotograph("unreadable", "its content is no image of a known kind" if content else "empty")
    height, width = announced
    if height * width > MAX_PHOTOGRAPH_PIXELS:
        raise RejectedPhotograph("too-large", f"{width}x{height} pixels; at most {MAX_PHOTOGRAPH_PIXELS} are decoded")
    try:
        return to_rgb(content, MAX_PHOTOGRAPH_PIXELS)
    except ValueError as error:
        raise RejectedPhotograph("unreadable", "damaged or cut short") from error
