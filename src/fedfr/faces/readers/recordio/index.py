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

__all__ = ["Index", "iterate_records", "make_index", "read_index"]

BLOCK = 1 << 24
DIGITS = 18
"""So many fit 63 bits."""

CHUNK = 1 << 20
FIRST_CHUNK = 1 << 10
"""Bytes searched for the next record: it is mostly near, and many may be broken."""


@dataclass(frozen=True)
class Index:
    """Keys (N,), ascending and distinct, and the byte offset of each record's magic (N,)."""

    keys: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, keys: ArrayLike, offsets: ArrayLike, path: Path) -> Index:
        """In the order of keys; raises :class:`FedfrError` naming ``path`` for one that stands for two records."""
        given, places = np.asarray(keys, np.int64), np.asarray(offsets, np.int64)
        order = np.argsort(given, kind="stable")
        given, places = given[order], places[order]
        twice = np.flatnonzero(given[1:] == given[:-1])
        if twice.size:
            at = int(twice[0])
            raise FedfrError(
                f"{path} has two records {given[at]}, at bytes {places[at]} and {places[at + 1]}; "
                "every record needs a key of its own, fetch the .rec and its .idx again"
            )
        return cls(given, places)

    def between(self, first: int, last: int) -> Index:
        """The records with keys ``first`` … ``last`` - 1."""
        start, stop = np.searchsorted(self.keys, (first, last))
        return Index(self.keys[start:stop], self.offsets[start:stop])

    def __len__(self) -> int:
        return len(self.keys)


def read_index(path: Path) -> Index:
    """Read lines of ``key<TAB>offset`` in any order; raises :class:`FedfrError` naming the line that is none."""
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
    return Index.of(pairs[:, 0], pairs[:, 1], path)


def _plain_pairs(block: bytes) -> NDArray[np.int64] | None:
    """All pairs of a block of whole lines at once; None where anything but digits, tabs and line ends is in it."""
    block = block.replace(b"\r\n", b"\n")
    content = np.frombuffer(block if block.endswith(b"\n") else block + b"\n", np.uint8)
    signs = np.flatnonzero((content < ord("0")) | (content > ord("9")))
    kinds, lengths = content[signs], np.diff(signs, prepend=-1) - 1
    plain = len(signs) % 2 == 0 and (kinds[::2] == ord("\t")).all() and (kinds[1::2] == ord("\n")).all()
    if not plain or lengths.min() < 1 or lengths.max() > DIGITS:
        return None
    return np.fromstring(content.tobytes().decode("ascii"), np.int64, sep=" ").reshape(-1, 2)


def _checked_pairs(block: bytes, path: Path, before: int) -> NDArray[np.int64]:
    """The same line by line; ``before`` are the lines of the file before the block."""
    lines = block.splitlines()
    pairs = np.empty((len(lines), 2), np.int64)
    for number, line in enumerate(lines):
        key, _, offset = line.partition(b"\t")
        # isdigit of bytes knows ASCII only.
        if not (key.isdigit() and offset.isdigit() and len(key) <= DIGITS and len(offset) <= DIGITS):
            raise FedfrError(
                f"{path}, line {before + number + 1}: expected `key<TAB>offset`, found {line[:40]!r}; "
                "fetch it again, or remove it: the index is then rebuilt from the records"
            )
        pairs[number] = int(key), int(offset)
    return pairs


def make_index(file: RecordFile, on_bad: OnBadRecord = raise_error) -> Index:
    """The index of a file that has none: every record's key is the id in its header.

    Raises :class:`RecordError` for a record without a header unless ``on_bad`` goes on, and :class:`FedfrError` where
    ids repeat.
    """
    keys, offsets = array("q"), array("q")
    for number, record in enumerate(iterate_records(file, on_bad)):
        try:
            keys.append(unpack_header(file.payload_start(record.offset, HEADER.size), record.length).id)
        except ValueError as error:
            on_bad(RecordError(file.path, f"the {_ordinal(number + 1)} record", record.offset, str(error)))
            continue
        offsets.append(record.offset)
    return Index.of(keys, offsets, file.path)


def iterate_records(file: RecordFile, on_bad: OnBadRecord = raise_error) -> Iterator[Record]:
    """Every record in the order of the file.

    Where one is broken and ``on_bad`` goes on, the next is looked for at the next magic that can begin one.
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
    """The first magic at or after ``offset``, a multiple of 4, that a whole record or a first part may follow."""
    magic = int.from_bytes(MAGIC, "little")
    at, stretch = offset, FIRST_CHUNK
    while at + 8 <= file.size:
        # One word more than is searched, to see the flag behind a magic at the end.
        length = min(stretch + 4, (file.size - at) // 4 * 4)
        words = np.frombuffer(file.bytes_at(at, length), dtype="<u4")
        for place in np.flatnonzero(words[:-1] == magic).tolist():
            if int(words[place + 1]) // (MAX_LENGTH + 1) in (WHOLE, FIRST):
                return at + 4 * place
        at, stretch = at + length - 4, CHUNK
    return None
