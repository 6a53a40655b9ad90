"""Lists of image indices as text: ascending ranges such as ``0-9,14``, in the order of the images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.grouping import concatenated_ranges

__all__ = ["format_ranges", "parse_ranges"]

CHUNK = 1 << 16
MAX_IMAGES = 1 << 26
"""Greatest number of images in one list, so that a short text cannot exhaust the memory."""

BLOCK = 1 << 22
DIGITS = 15
COMMA, HYPHEN = b",-"


def format_ranges(images: Sequence[int]) -> str:
    """Format indices as ascending ranges ``first-last`` separated by commas, in the order given."""
    given = np.asarray(images, np.int64)
    if not len(given):
        return ""
    starts = np.append(0, np.flatnonzero(np.diff(given) != 1) + 1)
    firsts, lasts = given[starts], given[np.append(starts[1:], len(given)) - 1]
    blocks = []
    for start in range(0, len(firsts), CHUNK):
        some, ends = firsts[start : start + CHUNK], lasts[start : start + CHUNK]
        words = [*map(str, some.tolist())]
        for place in np.flatnonzero(ends > some).tolist():
            words[place] += f"-{ends[place]}"
        blocks.append(",".join(words))
    return ",".join(blocks)


def parse_ranges(text: str) -> NDArray[np.int64]:
    """Parse the output of :func:`format_ranges`; raises ``ValueError`` naming the first invalid range."""
    blocks, start, total = [np.empty(0, np.int64)], 0, 0
    while text and start <= len(text):
        # Parse in blocks that end before a comma, to bound the temporary memory.
        end = text.find(",", start + BLOCK)
        end = len(text) if end < 0 else end
        blocks.append(_block(text[start:end], MAX_IMAGES - total))
        total += len(blocks[-1])
        start = end + 1
    return np.concatenate(blocks)


def _block(text: str, max_images: int) -> NDArray[np.int64]:
    content = np.frombuffer(text.encode(), np.uint8)
    signs = np.flatnonzero((content < ord("0")) | (content > ord("9")))
    kinds = content[signs]
    # There is a number between every two signs, and a range has at most two numbers.
    lengths = np.diff(signs, prepend=-1, append=len(content)) - 1
    wrong = (lengths < 1) | (lengths > DIGITS)
    misplaced = (kinds != COMMA) & (kinds != HYPHEN)
    misplaced[1:] |= (kinds[1:] == HYPHEN) & (kinds[:-1] == HYPHEN)
    if wrong.any() or misplaced.any():
        at = min([*np.flatnonzero(wrong)[:1].tolist(), *np.flatnonzero(misplaced)[:1].tolist()])
        place = int(signs[min(at, len(signs) - 1)]) if len(signs) else 0
        raise ValueError(f"{text[max(0, place - 10) : place + 10]!r} is not a list of ranges such as 0-9,14")
    numbers = np.fromstring(text.replace("-", ","), np.int64, sep=",")
    begins = np.append(True, kinds == COMMA)
    firsts, lasts = numbers[begins], numbers[np.append(kinds != HYPHEN, True)]
    if (lasts < firsts).any():
        at = int(np.argmax(lasts < firsts))
        raise ValueError(f"the range '{firsts[at]}-{lasts[at]}' is descending")
    counts = lasts - firsts + 1
    total = float(counts.sum(dtype=np.float64))
    if total > max_images:
        raise ValueError(f"a list of {total:.0f} images exceeds the limit of {MAX_IMAGES}")
    return concatenated_ranges(firsts, counts)
