"""Opening a photograph that somebody else made: nothing in it decides how much memory is taken."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.alignment.photographs.reasons import Unfit
from fedfr.faces.image_headers import announced_size
from fedfr.faces.readers.image_reading import to_rgb

__all__ = ["MOST_BYTES", "MOST_PIXELS", "read_photograph"]

MOST_PIXELS = 120_000_000
"""Telephones make images of 108 million; decoding one takes about 6 bytes for each pixel."""
MOST_BYTES = 1 << 29


def read_photograph(path: Path) -> NDArray[np.uint8]:
    """An image as it is shown (height, width, 3), RGB, 8 bits: turned as EXIF says, grey repeated.

    Raises :class:`Unfit`: ``too-large`` by what the file system or its header says, before memory is given to it, and
    ``unreadable``.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
            raise Unfit("unreadable", "no regular file")
        if found.st_size > MOST_BYTES:
            raise Unfit("too-large", f"{found.st_size} bytes; at most {MOST_BYTES} are read")
        content = path.read_bytes()
    except OSError as error:
        raise Unfit("unreadable", error.strerror or str(error)) from error
    announced = announced_size(content)
    if announced is None:
        raise Unfit("unreadable", "its content is no image of a known kind" if content else "empty")
    height, width = announced
    if height * width > MOST_PIXELS:
        raise Unfit("too-large", f"{width}x{height} pixels; at most {MOST_PIXELS} are decoded")
    try:
        return to_rgb(content, MOST_PIXELS)
    except ValueError as error:
        raise Unfit("unreadable", "damaged or cut short") from error
