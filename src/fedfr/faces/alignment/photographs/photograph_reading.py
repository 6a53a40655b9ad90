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
"""Greatest number of pixels; phones take images of 108 megapixels, and decoding needs about 6 bytes per pixel."""
MAX_BYTES = 1 << 29


def read_photograph(path: Path) -> NDArray[np.uint8]:
    """Read a photograph as uint8 RGB (height, width, 3), rotated according to its EXIF data; grey is repeated.

    Raises :class:`RejectedPhotograph` with reason ``too-large``, by file size and header and before memory is
    allocated, or ``unreadable``.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # reading a pipe would block
            raise RejectedPhotograph("unreadable", "not a regular file")
        if found.st_size > MAX_BYTES:
            raise RejectedPhotograph("too-large", f"{found.st_size} bytes; at most {MAX_BYTES} are read")
        content = path.read_bytes()
    except OSError as error:
        raise RejectedPhotograph("unreadable", error.strerror or str(error)) from error
    size = any_image_size(content)
    if size is None:
        raise RejectedPhotograph("unreadable", "not an image of a known format" if content else "empty")
    height, width = size
    if height * width > MAX_PHOTOGRAPH_PIXELS:
        raise RejectedPhotograph("too-large", f"{width}x{height} pixels; at most {MAX_PHOTOGRAPH_PIXELS} are decoded")
    try:
        return to_rgb(content, MAX_PHOTOGRAPH_PIXELS)
    except ValueError as error:
        raise RejectedPhotograph("unreadable", "damaged or truncated") from error
