"""Writing of RecordIO records and face files, identical to those of MXNet."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fedfr.core.errors import FedfrError
from fedfr.faces.readers.recordio.format import FIRST, LAST, MAGIC, MAX_LENGTH, MIDDLE, WHOLE
from fedfr.faces.readers.recordio.header import pack_payload

__all__ = ["RecordWriter", "frame_record", "write_recordio_file"]


def frame_record(payload: bytes) -> bytes:
    """Frame a payload as one record, divided where it holds the magic at a multiple of 4, and padded.

    Raises ``ValueError`` for more than 2^29 - 1 bytes.
    """
    if len(payload) > MAX_LENGTH:
        raise ValueError(f"{len(payload)} bytes in one record; RecordIO holds {MAX_LENGTH}")
    words = np.frombuffer(payload, dtype="<u4", count=len(payload) // 4)
    cuts = [4 * int(place) for place in np.flatnonzero(words == int.from_bytes(MAGIC, "little"))]
    starts, ends = [0, *(cut + len(MAGIC) for cut in cuts)], [*cuts, len(payload)]
    framed = bytearray()
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        first, last = number == 0, number == len(cuts)
        kind = (WHOLE if last else FIRST) if first else (LAST if last else MIDDLE)
        framed += MAGIC + struct.pack("<I", kind << 29 | (end - start)) + payload[start:end]
    return bytes(framed) + bytes(-len(framed) % 4)


class RecordWriter:
    """Appends records to an open file and collects the index."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._end = 0
        self._lines: list[str] = []

    def write(self, key: int, payload: bytes) -> None:
        """Append one record under ``key``."""
        framed = frame_record(payload)
        self._file.write(framed)
        self._lines.append(f"{key}\t{self._end}\n")
        self._end += len(framed)

    def index(self) -> bytes:
        """Return the content of the ``.idx``, in the order of writing."""
        return "".join(self._lines).encode()


def write_recordio_file(
    path: Path, images: Iterable[tuple[int, bytes]], identities: int, first_identity: int | None = None
) -> None:
    """Write ``path`` and its ``.idx``: images with their labels under the keys 1, 2, …, and record 0 at the end.

    ``images`` yields labels and compressed images. Record 0 holds [images + 1, identities] and, for a client's file,
    ``first_identity``, the number of its label 0. Raises :class:`FedfrError` for numbers that float32 labels cannot
    represent.
    """
    count = 0
    with path.open("wb") as file:
        writer = RecordWriter(file)
        try:
            for count, (label, image) in enumerate(images, start=1):
                writer.write(count, pack_payload(label, count, image))
            header = [count + 1, identities]
            writer.write(0, pack_payload(header if first_identity is None else [*header, first_identity], 0))
        except ValueError as error:
            raise FedfrError(f"{path.name} cannot be written: {error}; export fewer faces at a time") from error
    path.with_suffix(".idx").write_bytes(writer.index())
