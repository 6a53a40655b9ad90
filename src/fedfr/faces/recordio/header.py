"""What MXNet puts before a picture in a record: labels and a number (``mxnet.recordio.IRHeader``)."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["HEADER", "MOST", "ImageHeader", "pack", "unpack", "whole"]

HEADER = struct.Struct("<IfQQ")
"""Number of labels that follow (0: the label stands here), label, id, second id."""

MOST = 1 << 31
"""Labels, keys and counts are below: more people than that there are not."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """``count`` labels follow the fixed part (0: none), ``labels`` has those that were read, ``size`` is in bytes."""

    count: int
    labels: tuple[float, ...]
    id: int

    @property
    def size(self) -> int:
        """Bytes before the picture."""
        return HEADER.size + 4 * self.count


def unpack(payload: bytes, length: int | None = None) -> ImageHeader:
    """The header of a payload, or of its start where the whole has ``length`` bytes.

    Labels beyond the given bytes are left out. Raises ``ValueError`` saying what is wrong.
    """
    length = len(payload) if length is None else length
    if length < HEADER.size or len(payload) < HEADER.size:
        raise ValueError(f"holds {length} bytes, a header takes {HEADER.size}")
    count, label, number, _ = HEADER.unpack_from(payload)
    if count > (length - HEADER.size) // 4:
        raise ValueError(f"announces {count} labels in {length} bytes")
    if number >= 1 << 63:
        raise ValueError(f"has the id {number}")
    there = min(count, (len(payload) - HEADER.size) // 4)
    labels = struct.unpack_from(f"<{there}f", payload, HEADER.size) if count else (label,)
    return ImageHeader(count, labels, number)


def pack(labels: int | Sequence[int], number: int, picture: bytes = b"") -> bytes:
    """A payload: one label, or several, the record's id and the picture.

    Labels are kept as float32, which is exact up to 2^24; raises ``ValueError`` beyond.
    """
    several = (labels,) if isinstance(labels, int) else tuple(labels)
    if any(label != int(np.float32(label)) for label in several):
        raise ValueError(f"a label of {max(several)} is not exact as float32 (up to {2**24})")
    if isinstance(labels, int):
        return HEADER.pack(0, labels, number, 0) + picture
    return HEADER.pack(len(several), 0, number, 0) + struct.pack(f"<{len(several)}f", *several) + picture


def whole(label: float, least: int = 0) -> int:
    """A label as the whole number it stands for; raises ``ValueError`` for anything else."""
    if not math.isfinite(label) or label != int(label) or not least <= label < MOST:
        raise ValueError(f"has the label {label}; expected a whole number from {least} to {MOST - 1}")
    return int(label)
