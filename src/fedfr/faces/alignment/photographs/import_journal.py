"""Append-only journal of the outcomes of an unfinished import."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import WriteError
from fedfr.faces.alignment.photographs.outcome import Outcome
from fedfr.faces.pixels import IMAGE_SHAPE

__all__ = ["ImportJournal"]

# Mark of a record, lengths in bytes of its description (JSON) and of its pixels, and a checksum of both.
HEADER = struct.Struct("<4sIII")
MARK = b"face"
PIXELS = int(np.prod(IMAGE_SHAPE))
# The description of one photograph takes a few hundred bytes, its name included.
MAX_LENGTH = 1 << 20


class ImportJournal:
    """Outcomes by name in the file ``path``; a context manager, for one thread of one process.

    Opening reads the journal of an interrupted import up to the first record that is truncated or has a wrong checksum,
    and discards the rest. The ``stamp`` of a photograph is its size and modification time; an outcome is known only for
    an equal stamp. Appending raises :class:`WriteError` if the disk is full; the file then still ends with a complete
    record.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[str, tuple[list[int], Outcome, int]] = {}
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._end = self._read()
            os.ftruncate(self._file, self._end)
        except OSError as error:
            raise self._cannot_write(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def known(self, name: str, stamp: list[int]) -> Outcome | None:
        """Return the outcome, without pixels, of the photograph ``name`` with this ``stamp``, or None."""
        found = self._places.get(name)
        return None if found is None or found[0] != stamp else found[1]

    def pixels(self, name: str) -> NDArray[np.uint8]:
        """Return the aligned face (112, 112, 3) of a photograph that has one."""
        content = os.pread(self._file, PIXELS, self._places[name][2])
        return np.frombuffer(content, dtype=np.uint8).reshape(IMAGE_SHAPE)

    def append(self, stamp: list[int], outcome: Outcome) -> None:
        """Store an outcome with its pixels; it replaces an earlier one of the same name."""
        fields = {
            field.name: getattr(outcome, field.name) for field in dataclasses.fields(outcome) if field.name != "pixels"
        }
        description = json.dumps({"stamp": stamp, **fields}).encode()
        pixels = b"" if outcome.pixels is None else outcome.pixels.tobytes()
        body = description + pixels
        record = HEADER.pack(MARK, len(description), len(pixels), zlib.crc32(body)) + body
        try:
            written = 0
            while written < len(record):
                # On a full disk, a write may be partial and only the next one fails.
                written += os.pwrite(self._file, record[written:], self._end + written)
        except OSError as error:
            os.ftruncate(self._file, self._end)
            raise self._cannot_write(error) from error
        self._index(stamp, dataclasses.replace(outcome, pixels=None), self._end + HEADER.size + len(description))
        self._end += len(record)

    def _index(self, stamp: list[int], outcome: Outcome, place: int) -> None:
        self._places[outcome.name] = (stamp, outcome, place)

    def _read(self) -> int:
        """Index every complete record; returns the end of the last one."""
        at = 0
        while True:
            header = os.pread(self._file, HEADER.size, at)
            if len(header) < HEADER.size:
                return at
            mark, described, pixels, checksum = HEADER.unpack(header)
            if mark != MARK or pixels not in (0, PIXELS) or described > MAX_LENGTH:
                return at
            body = os.pread(self._file, described + pixels, at + HEADER.size)
            if len(body) < described + pixels or zlib.crc32(body) != checksum:
                return at
            try:
                content: dict[str, Any] = json.loads(body[:described])
                stamp = content.pop("stamp")
                self._index(stamp, Outcome(**content), at + HEADER.size + described)
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                return at
            at += HEADER.size + len(body)

    def _cannot_write(self, error: OSError) -> WriteError:
        return WriteError(
            f"cannot write {self._path}: {error.strerror}; free space or choose a folder that can be written, then "
            "repeat the command to continue"
        )
