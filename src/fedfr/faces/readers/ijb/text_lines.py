"""Reading of lines of words and numbers with errors that name file and line."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.faces.readers.image_reading import FacesWarning

__all__ = ["parse_whole_number", "quoted", "table_lines", "word_lines"]

MAX_LENGTH = 60
MAX_DIGITS = 9


def word_lines(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the location of each line, for messages, and its words between blanks, one for each of ``columns``.

    Raises :class:`FedfrError` for an unreadable or empty file and the first line with another number of words; emits a
    :class:`FacesWarning` if the last line lacks its end.
    """
    number, line = 0, "\n"
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                words = line.split()
                if len(words) != len(columns):
                    expected = f"expected {len(columns)} columns ({' '.join(columns)})"
                    raise FedfrError(f"{path}, line {number}: {expected}, found {quoted(line)}")
                yield f"{path}, line {number}", words
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    if number == 0:
        raise FedfrError(f"{path} is empty; fetch it again")
    if not line.endswith("\n"):
        # The last number may have lost digits, which no other check would detect.
        warnings.warn(f"{path}, line {number} has no end; the file may be truncated", FacesWarning, stacklevel=2)


def table_lines(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the location of each row of a CSV file, and its first cells, one for each of ``columns``.

    Raises :class:`FedfrError` for an unreadable file, another header, a file without rows, and a row whose number of
    cells differs from the header.
    """
    number = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            head = [cell.strip() for cell in next(lines, [])]
            if [cell.upper() for cell in head[: len(columns)]] != list(columns):
                wanted = ",".join(columns)
                raise FedfrError(f"{path}, line 1: expected the columns {wanted}, … found {quoted(','.join(head))}")
            for cells in lines:
                number = lines.line_num
                if len(cells) != len(head):
                    found = quoted(",".join(cells))
                    raise FedfrError(f"{path}, line {number}: expected {len(head)} cells as in line 1, found {found}")
                yield f"{path}, line {number}", [cell.strip() for cell in cells[: len(columns)]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, error) from error
    if number == 1:
        raise FedfrError(f"{path} has no rows below its header; fetch it again")


def parse_whole_number(word: str, where: str, what: str) -> int:
    """Parse a whole number of up to nine digits; raises :class:`FedfrError` for anything else."""
    if not (word.isascii() and word.isdecimal() and len(word) <= MAX_DIGITS):
        raise FedfrError(
            f"{where}: {what} is {word[:MAX_LENGTH]!r}; expected a whole number of up to {MAX_DIGITS} digits"
        )
    return int(word)


def quoted(line: str) -> str:
    """Return a line as error messages quote it, at most 60 characters."""
    line = line.rstrip("\r\n")
    return repr(line if len(line) <= MAX_LENGTH else line[:MAX_LENGTH] + "…")


def _unreadable(path: Path, error: Exception) -> FedfrError:
    if isinstance(error, OSError):
        return FedfrError(f"cannot read {path}: {error.strerror or error}; check the file")
    reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error
    return FedfrError(f"cannot read {path} ({reason}); fetch it again")
