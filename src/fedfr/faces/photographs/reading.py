"""Opening a photograph that somebody else made: nothing in it decides how much memory is taken."""

from __future__ import annotations

import stat
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.decoding import picture_size
from fedfr.faces.importers.images import to_rgb
from fedfr.faces.importers.pgm import PGM_HEADER
from fedfr.faces.photographs.reasons import Unfit

__all__ = ["MOST_BYTES", "MOST_PIXELS", "announced_size", "read_photograph"]

MOST_PIXELS = 120_000_000
"""Telephones make pictures of 108 million; decoding one takes about 6 bytes for each pixel."""
MOST_BYTES = 1 << 29


def announced_size(content: bytes) -> tuple[int, int] | None:
    """Height and width in the header of a JPEG, PNG, PGM or BMP; None for anything else."""
    header = PGM_HEADER.match(content[:1024])
    if header:
        return int(header[2]), int(header[1])
    if content.startswith(b"BM") and len(content) >= 26:
        # The oldest headers (12 bytes) have 16-bit sides; in the others a negative height means top to bottom.
        old = struct.unpack_from("<I", content, 14)[0] == 12
        width, height = struct.unpack_from("<HH" if old else "<ii", content, 18)
        return abs(height), abs(width)
    return picture_size(content)


def read_photograph(path: Path) -> NDArray[np.uint8]:
    """A picture as it is shown (height, width, 3), RGB, 8 bits: turned as EXIF says, grey repeated.

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
        raise Unfit("unreadable", "empty" if not content else "its content is no JPEG, PNG, PGM or BMP")
    height, width = announced
    if height * width > MOST_PIXELS:
        raise Unfit("too-large", f"{width}x{height} pixels; at most {MOST_PIXELS} are decoded")
    image = to_rgb(np.frombuffer(content, dtype=np.uint8))
    if image is None:
        raise Unfit("unreadable", "damaged or cut short")
    return image
