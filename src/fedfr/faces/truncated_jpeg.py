"""JPEGs without an end marker: decoded if only the marker is missing, refused if pixels are missing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.image_headers import FRAME_MARKERS, JPEG, jpeg_segments

__all__ = ["decode_without_end_marker", "lacks_end_marker"]

END, SCAN, PROGRESSIVE = 0xD9, 0xDA, 0xC2
# In entropy-coded data, FF is followed by 00 or by one of the eight restart markers.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Fillers that begin with each combination of two bits; none holds FF, which would start a marker.
_FILLERS = tuple(4096 * bytes([bits]) for bits in (0b00000000, 0b01010101, 0b10101010, 0b11001100))

Decode = Callable[[NDArray[np.uint8]], NDArray[np.uint8] | None]


@dataclass
class _Frame:
    """Components of the image, the parameters of every scan, and whether an end marker follows."""

    components: bytes = b""
    progressive: bool = False
    scans: list[bytes] = field(default_factory=list)
    ended: bool = False


def lacks_end_marker(content: bytes) -> bool:
    """Whether this is a JPEG with pixel data but without an end marker after them."""
    if not content.startswith(JPEG) or content.endswith(b"\xff\xd9"):
        return False
    frame = _walk(content)
    return bool(frame.scans) and not frame.ended


def decode_without_end_marker(content: bytes, decode: Decode) -> NDArray[np.uint8] | None:
    """Decode a JPEG in which only the end marker is missing; None where pixel data are missing.

    Decoders read beyond the end for missing data. The image is therefore complete if the result does not depend on the
    bytes appended to it.
    """
    content = content.rstrip(b"\xff")
    frame = _walk(content)
    if not _is_complete(frame):
        return None
    # libjpeg prints a warning about bytes before a marker; for a single scan it needs none, so none is appended.
    end = b"\xff\xd9" if frame.progressive or len(frame.scans) > 1 else b""
    found = [decode(np.frombuffer(content + filler + end, np.uint8)) for filler in _FILLERS]
    decoded = [each for each in found if each is not None]
    return (
        decoded[0] if len(decoded) == len(found) and all(np.array_equal(each, decoded[0]) for each in decoded) else None
    )


def _walk(content: bytes) -> _Frame:
    frame, at = _Frame(), 2
    while at >= 0:
        behind = -1
        for marker, start, end in jpeg_segments(content, at):
            if marker in FRAME_MARKERS:
                frame.components, frame.progressive = content[start + 6 : end : 3], marker == PROGRESSIVE
            elif marker == END:
                frame.ended = True
            elif marker == SCAN:
                frame.scans.append(content[start:end])
                following = _MARKER.search(content, end)
                behind = -1 if following is None else following.start()
                break
        at = behind
    return frame


def _is_complete(frame: _Frame) -> bool:
    """Whether the scans provide every coefficient of every component at full precision."""
    bits = {component: [16] * 64 for component in frame.components}
    for parameters in frame.scans:
        count = parameters[0] if parameters else 0
        if len(parameters) < 4 + 2 * count:
            return False
        first, last, precision = parameters[1 + 2 * count : 4 + 2 * count] if frame.progressive else (0, 63, 0)
        for component in parameters[1 : 1 + 2 * count : 2]:
            have = bits.get(component, [])
            have[first : last + 1] = [precision & 15] * len(have[first : last + 1])
    return bool(bits) and all(max(have) == 0 for have in bits.values())
