"""What a set of faces takes its pixels from: an array, memory-mapped or not, or compressed pictures in a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["IMAGE_SHAPE", "PictureSource", "PixelSource"]

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


@runtime_checkable
class PictureSource(Protocol):
    """A :class:`PixelSource` that decodes pictures when asked, and so knows them in their compressed form too."""

    def encoded(self, row: int) -> bytes:
        """The compressed picture as it lies in the file."""
        ...

    def digests(self, rows: NDArray[np.int64]) -> Iterator[bytes]:
        """SHA-256 of the decoded pixels of each row, in order."""
        ...
