"""Sequences of millions of texts, digests and indices stored in arrays; elements are created on access."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedfr.core.errors import FedfrError

__all__ = [
    "DIGEST_BYTES",
    "Column",
    "Digests",
    "ImageIndices",
    "Texts",
    "concatenate_indices",
    "encode_texts",
    "take_texts",
]

DIGEST_BYTES = 32
CHUNK = 1 << 14


T_co = TypeVar("T_co", covariant=True)


class Column(Sequence[T_co]):
    """A read-only sequence backed by arrays; equal to any sequence with the same elements in the same order."""

    @abstractmethod
    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return the elements at ``rows``, each in 0 … len-1, in that order."""

    @abstractmethod
    def _at(self, row: int) -> T_co: ...

    @overload
    def __getitem__(self, index: int) -> T_co: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> T_co | Self:
        """Return one element, or a column for a slice."""
        if isinstance(index, slice):
            return self.take(np.arange(len(self), dtype=np.int64)[index])
        row = int(index)
        if not -len(self) <= row < len(self):
            raise IndexError(f"index {row} of {len(self)}")
        return self._at(row % len(self))

    def __iter__(self) -> Iterator[T_co]:
        return (self._at(row) for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)}>"


class Texts(Column[str]):
    """Texts stored as concatenated UTF-8: text i lies at bytes ``ends[i]`` to ``ends[i + 1]``.

    ``rows`` (N,) selects texts, in order; by default all. Reading one raises :class:`FedfrError` where the arrays are
    inconsistent.
    """

    def __init__(self, ends: NDArray[np.int64], utf8: NDArray[np.uint8], rows: NDArray[np.int64] | None = None) -> None:
        self._ends, self._utf8, self._rows = ends, utf8, rows

    def __len__(self) -> int:
        return len(self._ends) - 1 if self._rows is None else len(self._rows)

    def take(self, rows: NDArray[np.int64]) -> Texts:
        """Return the texts at ``rows`` without copying them."""
        return Texts(self._ends, self._utf8, rows if self._rows is None else self._rows[rows])

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), CHUNK):
            stop = min(first + CHUNK, len(self))
            rows = np.arange(first, stop) if self._rows is None else self._rows[first:stop]
            bounds = zip(self._ends[rows].tolist(), self._ends[rows + 1].tolist(), strict=True)
            yield from (self._decoded(start, end) for start, end in bounds)

    def _at(self, row: int) -> str:
        place = row if self._rows is None else int(self._rows[row])
        return self._decoded(int(self._ends[place]), int(self._ends[place + 1]))

    def _decoded(self, start: int, end: int) -> str:
        if not 0 <= start <= end <= len(self._utf8):
            raise FedfrError(
                f"the names are damaged: bytes {start} to {end} of {len(self._utf8)} do not exist; import them again"
            )
        try:
            return self._utf8[start:end].tobytes().decode()
        except UnicodeDecodeError as error:
            raise FedfrError(f"the name at bytes {start} to {end} is not UTF-8; import the faces again") from error


class Digests(Column[bytes]):
    """SHA-256 digests of images; ``rows`` is uint8 (N, 32), memory-mapped or not."""

    def __init__(self, rows: NDArray[np.uint8]) -> None:
        self.rows = rows

    @classmethod
    def of(cls, digests: Iterable[bytes | bytearray]) -> Digests:
        """Create from single digests; raises ``ValueError`` for one of another length."""
        return cls(np.frombuffer(bytearray().join(digests), np.uint8).reshape(-1, DIGEST_BYTES))

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: NDArray[np.int64]) -> Digests:
        """Return the digests at ``rows``."""
        return Digests(self.rows[rows])

    def intersects(self, other: Digests) -> bool:
        """Whether any digest occurs in both."""
        return bool(np.isin(_as_values(self.rows), _as_values(other.rows)).any())

    def duplicates(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the indices of repeated digests, grouped by digest, and the position at which each group begins.

        Indices ascend within a group; groups are ordered by their first index.
        """
        # One word of a SHA-256 distinguishes nearly all; the other words are compared only where it is equal.
        words = np.ascontiguousarray(self.rows).view("<u8").reshape(-1, DIGEST_BYTES // 8)
        first = words[:, 0]
        ordered = np.sort(first)
        again = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        some = np.flatnonzero(_is_among(first, again))
        order = some[np.lexsort((some, *words[some].T[::-1]))]
        begins = np.ones(len(order), np.bool_)
        begins[1:] = (words[order[1:]] != words[order[:-1]]).any(axis=1)
        group = np.cumsum(begins) - 1
        kept = np.bincount(group)[group] > 1 if len(order) else begins
        order, group = order[kept], group[kept]
        # Order the groups by their first index, which is the lowest.
        starts = np.flatnonzero(np.append(True, group[1:] != group[:-1])) if len(order) else np.empty(0, np.int64)
        sizes = np.diff(np.append(starts, len(order)))
        by_first = np.lexsort((order, np.repeat(order[starts], sizes)))
        ranked = np.argsort(order[starts], kind="stable")
        return order[by_first].astype(np.int64), (np.cumsum(sizes[ranked]) - sizes[ranked]).astype(np.int64)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Digests):
            return bool(np.array_equal(self.rows, other.rows))
        return super().__eq__(other)

    __hash__ = Column.__hash__

    def _at(self, row: int) -> bytes:
        digest: bytes = self.rows[row].tobytes()
        return digest


class ImageIndices(Column[int]):
    """Immutable image indices, stored in 32 bits where they fit; as an array always int64.

    Raises ``TypeError`` for anything but a one-dimensional sequence of integers.
    """

    def __init__(self, rows: ArrayLike = ()) -> None:
        given = np.asarray(rows)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise TypeError(f"image indices are {given.dtype} {given.shape}; give a list of whole numbers")
        fits = not given.size or -(1 << 31) <= int(given.min()) <= int(given.max()) < 1 << 31
        self._rows: NDArray[np.signedinteger[Any]] = given.astype(np.int32 if fits else np.int64)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self._rows.astype(np.int64 if dtype is None else dtype)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[int]:
        for first in range(0, len(self), CHUNK):
            yield from self._rows[first : first + CHUNK].tolist()

    def __add__(self, other: Sequence[int]) -> ImageIndices:
        return ImageIndices(concatenate_indices([self, other]))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ImageIndices):
            return bool(np.array_equal(self._rows, other._rows))
        return super().__eq__(other)

    __hash__ = Column.__hash__

    def take(self, rows: NDArray[np.int64]) -> ImageIndices:
        """Return the indices at ``rows``."""
        return ImageIndices(self._rows[rows])

    def _at(self, row: int) -> int:
        return int(self._rows[row])


def concatenate_indices(parts: Iterable[Sequence[int] | NDArray[Any]]) -> NDArray[np.int64]:
    """Concatenate sequences of image indices to one int64 array."""
    return np.concatenate([np.empty(0, np.int64), *(np.asarray(part, np.int64) for part in parts)])


def take_texts(texts: Sequence[str], rows: NDArray[np.int64]) -> Sequence[str]:
    """Return the texts at ``rows``: as a column if ``texts`` is one, else as a list."""
    return texts.take(rows) if isinstance(texts, Column) else [texts[row] for row in rows.tolist()]


def encode_texts(texts: Iterable[str]) -> Iterator[tuple[NDArray[np.int64], bytes]]:
    """Yield blocks of texts as the lengths in bytes of each and their concatenated UTF-8."""
    block: list[bytes] = []
    for text in texts:
        block.append(text.encode())
        if len(block) == CHUNK:
            yield np.fromiter(map(len, block), np.int64, len(block)), b"".join(block)
            block = []
    if block:
        yield np.fromiter(map(len, block), np.int64, len(block)), b"".join(block)


def _as_values(rows: NDArray[np.uint8]) -> NDArray[np.void]:
    return np.ascontiguousarray(rows).view(f"S{DIGEST_BYTES}").reshape(-1)


def _is_among(values: NDArray[np.uint64], ascending: NDArray[np.uint64]) -> NDArray[np.bool_]:
    if not len(ascending):
        return np.zeros(len(values), np.bool_)
    places = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    found: NDArray[np.bool_] = ascending[places] == values
    return found
