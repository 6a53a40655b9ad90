"""Header of an image record: labels and id (``mxnet.recordio.IRHeader``)."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.readers.recordio.format import MAGIC, MAX_LENGTH, WHOLE, WORDS, RecordFile

__all__ = ["HEADER", "MAX_NUMBER", "ImageHeader", "pack_payload", "plain_labels", "unpack_header", "whole_label"]

HEADER = struct.Struct("<IfQQ")
"""Number of labels that follow (0: the single label is in the header), label, id, second id."""

RECORD_START = np.dtype(
    [
        *(("magic", "<u4"), ("part", "<u4")),
        *(("count", "<u4"), ("label", "<f4"), ("id", "<u8"), ("second", "<u8")),
        ("first", "<f4"),
    ]
)
"""Start of a record in one part, up to the image, or up to the second label if there are several."""

MAX_NUMBER = 1 << 31
"""Exclusive upper bound of labels, keys and counts."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Header fields: ``count`` labels after the fixed part (0: none), the ``labels`` that were read, and the ``id``."""

    count: int
    labels: tuple[float, ...]
    id: int

    @property
    def size(self) -> int:
        """Size of the header in bytes."""
        return HEADER.size + 4 * self.count


def unpack_header(payload: bytes, length: int | None = None) -> ImageHeader:
    """Parse the header of a payload, or of the prefix of a payload of ``length`` bytes.

    Labels beyond the given bytes are left out. Raises ``ValueError`` with the reason for an invalid header.
    """
    length = len(payload) if length is None else length
    if length < HEADER.size or len(payload) < HEADER.size:
        raise ValueError(f"holds {length} bytes, a header takes {HEADER.size}")
    count, label, number, _ = HEADER.unpack_from(payload)
    if count > (length - HEADER.size) // 4:
        raise ValueError(f"declares {count} labels in {length} bytes")
    if number >= 1 << 63:
        raise ValueError(f"has the id {number}")
    available = min(count, (len(payload) - HEADER.size) // 4)
    labels = struct.unpack_from(f"<{available}f", payload, HEADER.size) if count else (label,)
    return ImageHeader(count, labels, number)


def plain_labels(file: RecordFile, offsets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the labels (N,) of ordinary image records, in one part with a whole first label, and their mask (N,).

    The caller reads the others one by one, which gives the reason why a record is invalid.
    """
    found = np.frombuffer(file.read_prefixes(offsets.tolist(), RECORD_START.itemsize), RECORD_START)
    lengths = (found["part"] & MAX_LENGTH).astype(np.int64)
    plain = (found["magic"] == int.from_bytes(MAGIC, "little")) & (found["part"] >> 29 == WHOLE)
    plain &= (offsets % 4 == 0) & (found["id"] < 1 << 63)
    plain &= HEADER.size + 4 * found["count"].astype(np.int64) < lengths
    plain &= lengths + -lengths % 4 <= file.size - offsets - WORDS.size
    labels = np.where(found["count"] == 0, found["label"], found["first"]).astype(np.float64)
    plain &= (labels >= 0) & (labels < MAX_NUMBER) & (labels == np.floor(labels))
    return np.where(plain, labels, 0).astype(np.int64), plain


def pack_payload(labels: int | Sequence[int], number: int, image: bytes = b"") -> bytes:
    """Pack a payload of one label or several, the record's id and the image.

    Labels are stored as float32; raises ``ValueError`` for one that float32 does not represent (beyond 2^24).
    """
    several = (labels,) if isinstance(labels, int) else tuple(labels)
    if any(label != int(np.float32(label)) for label in several):
        raise ValueError(f"the label {max(several)} is not exact as float32 (exact up to {2**24})")
    if isinstance(labels, int):
        return HEADER.pack(0, labels, number, 0) + image
    return HEADER.pack(len(several), 0, number, 0) + struct.pack(f"<{len(several)}f", *several) + image


def whole_label(label: float, least: int = 0) -> int:
    """Return a label as a whole number; raises ``ValueError`` if it is not one in range."""
    if not math.isfinite(label) or label != int(label) or not least <= label < MAX_NUMBER:
        raise ValueError(f"has the label {label}; expected a whole number from {least} to {MAX_NUMBER - 1}")
    return int(label)
