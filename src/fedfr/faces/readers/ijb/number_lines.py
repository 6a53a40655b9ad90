"""Fast reading of millions of lines of whole numbers, in blocks of bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces.readers.ijb.text_lines import MAX_DIGITS, MAX_LENGTH, quoted

__all__ = ["number_lines"]

BLOCK = 1 << 21
DIGIT, BLANK, END, OTHER = range(4)
# Kind of every byte.
BYTE_KINDS = np.full(256, OTHER, np.uint8)
BYTE_KINDS[list(b"0123456789")] = DIGIT
BYTE_KINDS[list(b" \t\r")] = BLANK
BYTE_KINDS[list(b"\n")] = END

Bytes = NDArray[np.uint8]


def number_lines(path: Path, columns: Sequence[str], block: int = BLOCK) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield blocks of lines as the number of the first line and the values (n, columns).

    ``block`` is the number of bytes read at a time. Raises :class:`FedfrError` for an unreadable or empty file, and
    naming the first line that does not hold one whole number of up to nine digits for each of ``columns``.
    """
    first = 1
    try:
        with path.open("rb") as file:
            for text in _whole_lines(file, block):
                values = _parse(text, len(columns))
                if values is None:
                    raise _first_error(text, path, first, columns)
                yield first, values
                first += len(values)
    except OSError as error:
        raise FedfrError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    if first == 1:
        raise FedfrError(f"{path} is empty; fetch it again")


def _whole_lines(file: BinaryIO, block: int) -> Iterator[Bytes]:
    """Yield the bytes of the file in blocks of complete lines; the last line may lack its end."""
    rest = b""
    while content := file.read(block):
        cut = content.rfind(b"\n") + 1
        if cut:
            yield np.frombuffer(rest + content[:cut], np.uint8)
            rest = content[cut:]
        else:
            rest += content
            # Not a file of numbers: a line must not grow to the size of the file.
            if len(rest) > max(block, 1 << 16):
                break
    if rest:
        yield np.frombuffer(rest + b"\n", np.uint8)


def _parse(text: Bytes, columns: int) -> NDArray[np.int64] | None:
    """Parse complete lines to values (lines, columns); None if a line is invalid."""
    kinds = BYTE_KINDS[text]
    digit = kinds == DIGIT
    # A number begins at a digit after another byte and stops before the next other byte; the last byte is no digit.
    edges = np.flatnonzero(digit[1:] != digit[:-1]) + 1
    if digit[0]:
        edges = np.concatenate([[0], edges])
    starts, stops = edges[0::2], edges[1::2]
    ends = np.flatnonzero(kinds == END)
    if len(starts) != columns * len(ends) or kinds.max() == OTHER:
        return None
    lengths = stops - starts
    per_line = starts.reshape(-1, columns)
    before = np.concatenate([[-1], ends[:-1]])
    if lengths.max() > MAX_DIGITS or (per_line[:, 0] < before).any() or (per_line[:, -1] > ends).any():
        return None
    values = np.zeros(len(starts), np.int64)
    for place in range(int(lengths.max())):
        digits = text.take(stops - 1 - place, mode="wrap").astype(np.int64) - ord("0")
        digits[lengths <= place] = 0
        values += digits * 10**place
    return values.reshape(-1, columns)


def _first_error(text: Bytes, path: Path, first: int, columns: Sequence[str]) -> FedfrError:
    """Return an error that names the first invalid line."""

    def is_invalid(line: bytes) -> bool:
        words = line.split()
        valid = len(words) == len(columns) and all(word.isdigit() and len(word) <= MAX_DIGITS for word in words)
        return not valid or bool((BYTE_KINDS[list(line)] == OTHER).any())

    lines = enumerate(text.tobytes().split(b"\n"), start=first)
    number, line = next((number, line) for number, line in lines if is_invalid(line))
    expected = f"expected {len(columns)} whole numbers of up to {MAX_DIGITS} digits ({' '.join(columns)})"
    found = quoted(line[: 2 * MAX_LENGTH].decode("ascii", "backslashreplace"))
    return FedfrError(f"{path}, line {number}: {expected}, found {found}")
