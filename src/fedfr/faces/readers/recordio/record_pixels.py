"""Pixel source over the images of a RecordIO file, decoded on access."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.operating_system import usable_cores
from fedfr.faces.array_columns import Digests
from fedfr.faces.encoded_images import decode_image, resize, silence_opencv
from fedfr.faces.pixels import IMAGE_SHAPE, DecodedPixels
from fedfr.faces.readers.recordio.format import OnBadRecord, RecordError, RecordFile, raise_error
from fedfr.faces.readers.recordio.header import HEADER, unpack_header

__all__ = ["RecordPixels"]

THREADS = min(4, usable_cores())
CHUNK = 256


class RecordPixels(DecodedPixels):
    """Pixel source over the images of the records at byte ``offsets`` (M,) of ``file``, which have the ``keys`` (M,).

    Rows are decoded by up to ``threads`` threads; the pixels do not depend on the number. ``resized`` (M,) marks the
    images decoded so far that were not 112x112. Reading raises :class:`RecordError` naming the record.
    """

    def __init__(
        self,
        file: RecordFile,
        keys: NDArray[np.int64],
        offsets: NDArray[np.int64],
        threads: int = THREADS,
    ) -> None:
        self.file = file
        self.keys = keys
        self.offsets = offsets
        self.threads = threads
        self.resized = np.zeros(len(offsets), np.bool_)

    def __len__(self) -> int:
        return len(self.offsets)

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Decode ``rows`` to RGB (n, 112, 112, 3)."""
        pixels = np.empty((len(rows), *IMAGE_SHAPE), np.uint8)

        def fill(place: int) -> None:
            pixels[place] = self.decoded(int(rows[place]))

        self._for_each(fill, len(rows))
        return pixels

    def encoded(self, row: int) -> bytes:
        """Return the compressed image of one row as stored."""
        offset, key = int(self.offsets[row]), int(self.keys[row])
        try:
            payload = self.file.payload(offset)
            return payload[unpack_header(payload[: HEADER.size], len(payload)).size :]
        except RecordError as error:
            raise error.with_key(key) from error
        except ValueError as error:
            raise RecordError(self.file.path, f"record {key}", offset, str(error)) from error

    def digests(self, rows: NDArray[np.int64]) -> Iterator[bytes]:
        """Yield the SHA-256 of the decoded pixels of each row, in order."""
        return (digest for digest in self._digested(rows, raise_error) if digest is not None)

    def examine(self, progress: Callable[[int, int], None], on_bad: OnBadRecord) -> tuple[NDArray[np.int64], Digests]:
        """Decode all images once; returns the valid rows, ascending, and their digests; calls ``on_bad`` for others."""
        valid = np.zeros(len(self), np.bool_)
        found = bytearray()
        for row, digest in enumerate(self._digested(np.arange(len(self)), on_bad)):
            if digest is not None:
                valid[row] = True
                found += digest
            progress(row + 1, len(self))
        return np.flatnonzero(valid).astype(np.int64), Digests.of([found])

    def take(self, rows: NDArray[np.int64]) -> RecordPixels:
        """Return the images at ``rows`` of the same file."""
        part = RecordPixels(self.file, self.keys[rows], self.offsets[rows], self.threads)
        part.resized = self.resized[rows]
        return part

    def decoded(self, row: int) -> NDArray[np.uint8]:
        """Return the pixels of one row; an image of another size is resized and marked in ``resized``."""
        try:
            image = decode_image(self.encoded(row))
        except ValueError as error:
            offset, key = int(self.offsets[row]), int(self.keys[row])
            raise RecordError(self.file.path, f"record {key}", offset, str(error)) from error
        if image.shape == IMAGE_SHAPE:
            return image
        self.resized[row] = True
        return resize(image)

    def _digested(self, rows: NDArray[np.int64], on_bad: OnBadRecord) -> Iterator[bytes | None]:
        for start in range(0, len(rows), CHUNK):
            block = rows[start : start + CHUNK]
            found: list[bytes | RecordError] = [b""] * len(block)

            def digest(place: int, block: NDArray[np.int64] = block, found: list[bytes | RecordError] = found) -> None:
                try:
                    found[place] = hashlib.sha256(self.decoded(int(block[place])).tobytes()).digest()
                except RecordError as error:
                    found[place] = error

            self._for_each(digest, len(block))
            for outcome in found:
                if isinstance(outcome, RecordError):
                    on_bad(outcome)
                yield outcome if isinstance(outcome, bytes) else None

    def _for_each(self, work: Callable[[int], None], count: int) -> None:
        """Call ``work`` with 0 … count-1 in threads, as OpenCV decodes without the GIL."""

        def work_on(places: range) -> None:
            for place in places:
                work(place)

        threads = max(1, min(self.threads, count // 8))
        with silence_opencv():
            if threads == 1:
                work_on(range(count))
                return
            # Created for every batch: this takes under a tenth of its time, and no pool has to survive fork or pickle.
            with ThreadPoolExecutor(threads) as pool:
                for _ in pool.map(work_on, [range(first, count, threads) for first in range(threads)]):
                    pass

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process gets the path and opens the file again.
        return RecordPixels, (self.file, self.keys, self.offsets, self.threads)
