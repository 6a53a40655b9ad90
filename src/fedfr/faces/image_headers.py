"""Image sizes from file headers, read before any pixels are decoded."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

__all__ = ["FRAME_MARKERS", "JPEG", "PNG", "any_image_size", "image_size", "jpeg_segments"]

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
# No nested repetition, which would take exponential time in the number of blanks.
_PNM = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})")
FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG frame headers: C0 … CF except DHT, JPG and DAC (ITU-T T.81, B.2.2)."""
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_END = 0xD9
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_SHORT, _TIFF_LONG = 256, 257, 3, 4


def image_size(content: bytes) -> tuple[int, int] | None:
    """Return height and width in the header of a JPEG or PNG; None for anything else."""
    if content.startswith(PNG):
        if len(content) < 24 or content[12:16] != b"IHDR":
            return None
        width, height = struct.unpack_from(">II", content, 16)
        return height, width
    if not content.startswith(JPEG):
        return None
    for marker, start, _ in jpeg_segments(content):
        if marker in FRAME_MARKERS and start + 5 <= len(content):
            height, width = struct.unpack_from(">HH", content, start + 1)
            return height, width
    return None


def any_image_size(content: bytes) -> tuple[int, int] | None:
    """Return height and width in the header of a JPEG, PNG, PNM, BMP, GIF, WebP or TIFF; None for anything else."""
    try:
        if content.startswith(b"BM"):
            return _bmp_size(content)
        if content[:6] in (b"GIF87a", b"GIF89a"):
            width, height = struct.unpack_from("<HH", content, 6)
            return height, width
        if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
            return _webp_size(content)
        if content[:4] in (b"II*\0", b"MM\0*"):
            return _tiff_size(content)
    except struct.error:
        return None
    header = _PNM.match(content[:1024])
    return (int(header[2]), int(header[1])) if header else image_size(content)


def jpeg_segments(content: bytes, at: int = 2) -> Iterator[tuple[int, int, int]]:
    """Yield each marker from ``at`` on with the start and end of its parameters; other bytes are skipped.

    The entropy-coded data of a scan follow the parameters of its marker.
    """
    while (at := content.find(b"\xff", at)) >= 0:
        while content[at : at + 1] == b"\xff":  # fill bytes may precede a marker
            at += 1
        marker = content[at] if at < len(content) else 0
        at += 1
        if marker == 0 or marker in _ALONE:
            continue
        if marker == _END:
            yield marker, at, at
            return
        end = at + max(2, int.from_bytes(content[at : at + 2], "big"))
        yield marker, at + 2, end
        at = end


def _bmp_size(content: bytes) -> tuple[int, int]:
    # The oldest headers (12 bytes) have 16-bit sides; in the others a negative height means top to bottom.
    old = struct.unpack_from("<I", content, 14)[0] == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", content, 18)
    return abs(height), abs(width)


def _webp_size(content: bytes) -> tuple[int, int] | None:
    kind = content[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(content[at : at + 3], "little") + 1 for at in (24, 27))
        return (height, width) if len(content) >= 30 else None
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", content, 21)[0]
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return height & 0x3FFF, width & 0x3FFF
    return None


def _tiff_size(content: bytes) -> tuple[int, int] | None:
    order = "<" if content.startswith(b"II") else ">"
    at = struct.unpack_from(f"{order}I", content, 4)[0]
    count = struct.unpack_from(f"{order}H", content, at)[0]
    sides: dict[int, int] = {}
    for number in range(count):
        tag, kind = struct.unpack_from(f"{order}HH", content, at + 2 + 12 * number)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT) and kind in (_TIFF_SHORT, _TIFF_LONG):
            value = "H" if kind == _TIFF_SHORT else "I"
            found = struct.unpack_from(order + value, content, at + 2 + 12 * number + 8)[0]
            sides[tag] = max(found, sides.get(tag, 0))
    return (sides[_TIFF_HEIGHT], sides[_TIFF_WIDTH]) if len(sides) == 2 else None
