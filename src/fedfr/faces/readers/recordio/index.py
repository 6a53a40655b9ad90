"""Index of record offsets: read from the ``.idx`` beside a ``.rec``, or rebuilt from the records."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces.readers.recordio.format import (
    FIRST,
    MAGIC,
    MAX_LENGTH,
    WHOLE,
    OnBadRecord,
    Record,
    RecordError,
    RecordFile,
    raise_error,
)
from fedfr.faces.readers.recordio.header import HEADER, unpack_header

__all__ = ["RecordIndex", "iterate_records", "make_index", "read_index"]

BLOCK = 1 << 24
DIGITS = 18
"""Greatest number of decimal digits that always fits 63 bits."""

CHUNK = 1 << 20
FIRST_CHUNK = 1 << 10
"""Bytes searched first for the next record, which is usually near; many records may be damaged."""


@dataclass(frozen=True)
class RecordIndex:
    """Keys (N,), ascending and distinct, and the byte offset of each record's magic (N,)."""

    keys: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, keys: ArrayLike, offsets: ArrayLike, path: Path) -> RecordIndex:
        """Create an index sorted by key; raises :class:`FedfrError` naming ``path`` for a repeated key."""
        given, places = np.asarray(keys, np.int64), np.asarray(offsets, np.int64)
        order = np.argsort(given, kind="stable")
        given, places = given[order], places[order]
        repeated = np.flatnonzero(given[1:] == given[:-1])
        if repeated.size:
            at = int(repeated[0])
            raise FedfrError(
                f"{path} has two records with key {given[at]}, at bytes {places[at]} and {places[at + 1]}; "
                "keys must be unique, fetch the .rec and its .idx again"
            )
        return cls(given, places)

    def between(self, first: int, last: int) -> RecordIndex:
        """Return the records with keys ``first`` … ``last`` - 1."""
        start, stop = np.searchsorted(self.keys, (first, last))
        return RecordIndex(self.keys[start:stop], self.offsets[start:stop])

    def __len__(self) -> int:
        return len(self.keys)


def read_index(path: Path) -> RecordIndex:
    """Read lines of ``key<TAB>offset`` in any order; raises :class:`FedfrError` naming an invalid line."""
    blocks: list[NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
    lines = 0
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                block += file.readline()
                pairs = _plain_pairs(block)
                blocks.append(_checked_pairs(block, path, lines) if pairs is None else pairs)
                lines += len(blocks[-1])
    except OSError as error:
        raise FedfrError(f"cannot read {path}: {error.strerror or error}; check the file or remove it") from error
    pairs = np.concatenate(blocks)
    return RecordIndex.of(pairs[:, 0], pairs[:, 1], path)


def _plain_pairs(block: bytes) -> NDArray[np.int64] | None:
    """Parse the pairs of a block of lines at once; None if it holds anything but digits, tabs and line ends."""
    block = block.replace(b"\r\n", b"\n")
    content = np.frombuffer(block if block.endswith(b"\n") else block + b"\n", np.uint8)
    signs = np.flatnonzero((content < ord("0")) | (content > ord("9")))
    kinds, lengths = content[signs], np.diff(signs, prepend=-1) - 1
    plain = len(signs) % 2 == 0 and (kinds[::2] == ord("\t")).all() and (kinds[1::2] == ord("\n")).all()
    if not plain or lengths.min() < 1 or lengths.max() > DIGITS:
        return None
    return np.fromstring(content.tobytes().decode("ascii"), np.int64, sep=" ").reshape(-1, 2)


def _checked_pairs(block: bytes, path: Path, before: int) -> NDArray[np.int64]:
    """Parse a block line by line; ``before`` is the number of lines before it, for messages."""
    lines = block.splitlines()
    pairs = np.empty((len(lines), 2), np.int64)
    for number, line in enumerate(lines):
        key, _, offset = line.partition(b"\t")
        # bytes.isdigit accepts ASCII digits only.
        if not (key.isdigit() and offset.isdigit() and len(key) <= DIGITS and len(offset) <= DIGITS):
            raise FedfrError(
                f"{path}, line {before + number + 1}: expected `key<TAB>offset`, found {line[:40]!r}; "
                "fetch it again, or remove it to rebuild the index from the records"
            )
        pairs[number] = int(key), int(offset)
    return pairs


def make_index(file: RecordFile, on_bad: OnBadRecord = raise_error) -> RecordIndex:
    """Build the index of a file without ``.idx``; the key of every record is the id in its header.

    Raises :class:`RecordError` for a record without a header unless ``on_bad`` continues, and :class:`FedfrError` for
    repeated ids.
    """
    keys, offsets = array("q"), array("q")
    for number, record in enumerate(iterate_records(file, on_bad)):
        try:
            keys.append(unpack_header(file.payload_prefix(record.offset, HEADER.size), record.length).id)
        except ValueError as error:
            on_bad(RecordError(file.path, f"the {_ordinal(number + 1)} record", record.offset, str(error)))
            continue
        offsets.append(record.offset)
    return RecordIndex.of(keys, offsets, file.path)


def iterate_records(file: RecordFile, on_bad: OnBadRecord = raise_error) -> Iterator[Record]:
    """Yield every record in the order of the file.

    After an invalid record, if ``on_bad`` continues, reading resumes at the next magic that can begin a record.
    """
    at: int | None = 0
    number = 0
    while at is not None and at < file.size:
        number += 1
        try:
            record = file.record(at)
        except RecordError as error:
            on_bad(RecordError(file.path, f"the {_ordinal(number)} record", at, error.reason))
            at = _next_start(file, at + 4)
        else:
            yield record
            at = record.end


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _next_start(file: RecordFile, offset: int) -> int | None:
    """Return the position of the first magic from ``offset``, a multiple of 4, that can begin a record, or None."""
    magic = int.from_bytes(MAGIC, "little")
    at, chunk = offset, FIRST_CHUNK
    while at + 8 <= file.size:
        # One word more than is searched, for the flag after a magic at the end.
        length = min(chunk + 4, (file.size - at) // 4 * 4)
        words = np.frombuffer(file.bytes_at(at, length), dtype="<u4")
        for place in np.flatnonzero(words[:-1] == magic).tolist():
            if int(words[place + 1]) // (MAX_LENGTH + 1) in (WHOLE, FIRST):
                return at + 4 * place
        at, chunk = at + length - 4, CHUNK
    return None
