"""Pixel sources of a face set: an array, memory-mapped or not, or compressed images decoded on access."""

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
    """uint8 RGB pixels of shape (M, 112, 112, 3), in memory or not; a NumPy array is one.

    A source that is not an array is pickled as the information needed to reopen its file.
    """

    @property
    def dtype(self) -> np.dtype[Any]:
        """Always uint8."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """(M, 112, 112, 3)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Return the pixels (n, 112, 112, 3) of ``rows``, each in 0 … M-1, in that order."""
        ...


class DecodedPixels(ABC):
    """A :class:`PixelSource` that decodes images on access and also returns them in compressed form.

    Subclasses implement the length, :meth:`encoded` and :meth:`decoded`.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def encoded(self, row: int) -> bytes:
        """Return the compressed image of one row as stored; raises :class:`fedfr.core.errors.FedfrError` naming it."""

    @abstractmethod
    def decoded(self, row: int) -> NDArray[np.uint8]:
        """Return the RGB pixels (112, 112, 3) of one row; raises :class:`fedfr.core.errors.FedfrError` naming it."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Always uint8."""
        return np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """(M, 112, 112, 3)."""
        return (len(self), *IMAGE_SHAPE)

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Decode ``rows`` to RGB (n, 112, 112, 3)."""
        pixels = np.empty((len(rows), *IMAGE_SHAPE), np.uint8)
        for place, row in enumerate(rows.tolist()):
            pixels[place] = self.decoded(row)
        return pixels

    def digests(self, rows: NDArray[np.int64]) -> Iterator[bytes]:
        """Yield the SHA-256 of the decoded pixels of each row, in order."""
        return (hashlib.sha256(self.decoded(row).tobytes()).digest() for row in rows.tolist())
