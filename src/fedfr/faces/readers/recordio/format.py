"""Records of a RecordIO file (dmlc ``recordio.h``), read by byte offset; every length is checked before use."""

from __future__ import annotations

import os
import struct
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedfr.core.errors import FedfrError

__all__ = [
    "FIRST",
    "LAST",
    "MAGIC",
    "MAX_LENGTH",
    "MIDDLE",
    "WHOLE",
    "WORDS",
    "OnBadRecord",
    "Record",
    "RecordError",
    "RecordFile",
    "raise_error",
]

MAGIC = struct.pack("<I", 0xCED7230A)
WORDS = struct.Struct("<II")
MAX_LENGTH = (1 << 29) - 1
WHOLE, FIRST, MIDDLE, LAST = range(4)


class RecordError(FedfrError):
    """An invalid record: its name ``record``, its byte ``offset`` in the file ``path``, and the ``reason``."""

    def __init__(self, path: Path, record: str, offset: int, reason: str) -> None:
        super().__init__(
            f"{path}: {record} at byte {offset} {reason}; fetch the file again or leave such records out (--skip-bad)"
        )
        self.path, self.record, self.offset, self.reason = path, record, offset, reason

    def with_key(self, key: int) -> RecordError:
        """Return this error with the record named by its ``key`` in the index."""
        return RecordError(self.path, f"record {key}", self.offset, self.reason)

    def __reduce__(self) -> tuple[type[RecordError], tuple[Path, str, int, str]]:
        return RecordError, (self.path, self.record, self.offset, self.reason)


OnBadRecord = Callable[[RecordError], None]
"""Called for every invalid record; it raises the error, or stores it so that reading continues."""


def raise_error(error: RecordError) -> None:
    """Raise ``error``; the strict :data:`OnBadRecord`."""
    raise error


@dataclass(frozen=True, slots=True)
class Record:
    """Position of a record in bytes: ``offset`` of its magic, ``end`` after padding, ``length`` of its payload."""

    offset: int
    end: int
    length: int


class RecordFile:
    """A RecordIO file open for reading from any thread; pickled as its path.

    ``size`` is in bytes. Raises :class:`FedfrError` if the file is missing, empty or unreadable.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if not path.is_file():  # opening a pipe would block
                problem = "is not a file" if path.exists() else "does not exist"
                raise FedfrError(f"{path} {problem}; give a RecordIO file such as train.rec, or the folder with it")
            self._descriptor = os.open(path, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)
            self.size = os.fstat(self._descriptor).st_size
        except OSError as error:
            raise FedfrError(f"cannot read {path}: {error.strerror or error}; check the file") from error
        if self.size == 0:
            raise FedfrError(f"{path} is empty; fetch it again")

    def check_kind(self) -> None:
        """Raise :class:`FedfrError` unless the file starts with the magic of RecordIO."""
        start = self.bytes_at(0, min(4, self.size))
        if start != MAGIC:
            raise FedfrError(
                f"{self.path} is not a RecordIO file (it starts with {start.hex(' ')}, expected {MAGIC.hex(' ')}); "
                "give a train.rec"
            )

    def bytes_at(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes; raises :class:`RecordError` if the file has become shorter."""
        try:
            content = os.pread(self._descriptor, length, offset)
        except OSError as error:
            raise FedfrError(f"cannot read {self.path}: {error.strerror or error}; check the disk") from error
        if len(content) != length:
            raise RecordError(self.path, "the record", offset, f"ends after {len(content)} of {length} bytes")
        return content

    def read_prefixes(self, offsets: Sequence[int], length: int) -> bytes:
        """Return ``length`` bytes at each offset, concatenated; bytes beyond the end of the file are zero."""
        try:
            return b"".join([os.pread(self._descriptor, length, offset).ljust(length, b"\0") for offset in offsets])
        except OSError as error:
            raise FedfrError(f"cannot read {self.path}: {error.strerror or error}; check the disk") from error

    def record(self, offset: int) -> Record:
        """Return the position of the record at ``offset``, all its parts included; raises :class:`RecordError`."""
        length, end = -len(MAGIC), offset
        for start, size in self._parts(offset):
            length += len(MAGIC) + size
            end = start + size + -size % 4
        return Record(offset, end, length)

    def payload(self, offset: int) -> bytes:
        """Return the payload of the record at ``offset``, with the magic words between its parts restored."""
        found = bytearray()
        for number, (start, size) in enumerate(self._parts(offset)):
            found += (MAGIC if number else b"") + self.bytes_at(start, size)
        return bytes(found)

    def payload_prefix(self, offset: int, length: int) -> bytes:
        """Return up to the first ``length`` bytes of the payload, reading hardly more."""
        found = bytearray()
        for number, (start, size) in enumerate(self._parts(offset)):
            found += (MAGIC if number else b"") + self.bytes_at(start, min(size, length))
            if len(found) >= length:
                break
        return bytes(found[:length])

    def _parts(self, offset: int) -> Iterator[tuple[int, int]]:
        """Yield start and length of every part, after a check that it lies inside the file with its padding."""
        at, flag = offset, -1
        while flag not in (WHOLE, LAST):
            if not 0 <= at <= self.size - WORDS.size or at % 4:
                raise RecordError(self.path, "the record", offset, f"has no header at byte {at} of {self.size}")
            words = self.bytes_at(at, WORDS.size)
            if not words.startswith(MAGIC):
                raise RecordError(
                    self.path, "the record", offset, f"has {words[:4].hex(' ')}, not {MAGIC.hex(' ')}, at byte {at}"
                )
            flag, length = divmod(WORDS.unpack(words)[1], MAX_LENGTH + 1)
            if flag not in ((WHOLE, FIRST) if at == offset else (MIDDLE, LAST)):
                raise RecordError(
                    self.path, "the record", offset, f"has a part of kind {flag} out of order at byte {at}"
                )
            start, padded = at + WORDS.size, length + -length % 4
            if padded > self.size - start:
                reason = f"declares {length} bytes, the file ends after {self.size - start}"
                raise RecordError(self.path, "the record", offset, reason)
            yield start, length
            at = start + padded

    def __reduce__(self) -> tuple[type[RecordFile], tuple[Path]]:
        return RecordFile, (self.path,)
