"""What a set of faces takes its pixels from: an array, memory-mapped or not, or compressed images in a file."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["IMAGE_SHAPE", "DecodedPixels", "PixelSource"]

IMAGE_SHAPE = (112, 112, 3)


class PixelSource(Protocol):
    """uint8 RGB of shape (M, 112, 112, 3), whole or not in memory; a NumPy array is one.

    A source that is not an array pickles as what it needs to open its file again, not as its pixels.
    """

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one value."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """(M, height, width, channels)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Pixels (n, 112, 112, 3) of some rows, each in 0 … M-1, in their order."""
        ...


class DecodedPixels(ABC):
    """A :class:`PixelSource` that decodes images when asked, and so knows them in their compressed form too.

    A kind of it says how many there are, what lies where, and what an image decodes to.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def encoded(self, row: int) -> bytes:
        """The compressed image as it lies in its file; raises :class:`fedfr.core.errors.FedfrError` naming it."""

    @abstractmethod
    def decoded(self, row: int) -> NDArray[np.uint8]:
        """The pixels (112, 112, 3) of one row, RGB; raises :class:`fedfr.core.errors.FedfrError` naming the image."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Always uint8."""
        return np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """(M, 112, 112, 3)."""
        return (len(self), *IMAGE_SHAPE)

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Decode some rows, (n, 112, 112, 3) RGB."""
        pixels = np.empty((len(rows), *IMAGE_SHAPE), np.uint8)
        for place, row in enumerate(rows.tolist()):
            pixels[place] = self.decoded(row)
        return pixels

    def digests(self, rows: NDArray[np.int64]) -> Iterator[bytes]:
        """SHA-256 of the decoded pixels of each row, in order."""
        return (hashlib.sha256(self.decoded(row).tobytes()).digest() for row in rows.tolist())
