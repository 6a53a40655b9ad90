"""Face sets: aligned face images with identity labels."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces.array_columns import Column, Digests, take_texts
from fedfr.faces.grouping import ByIdentity
from fedfr.faces.joined_pixels import JoinedPixels, SetPart
from fedfr.faces.pixels import DecodedPixels, PixelSource
from fedfr.faces.storage import DIGESTS, IMAGE_SHAPE, fingerprint, read_digests, read_faces, write_faces

__all__ = ["FaceSet"]

Indices = Sequence[int] | NDArray[Any]
CHUNK = 256


class FaceSet:
    """Aligned face images, uint8 RGB 112x112, each with an identity label; immutable.

    ``pixels`` has shape (M, 112, 112, 3): an array, memory-mapped or not, or another source that reads rows on access.
    ``rows`` (N,) selects images of it, in order (by default all), so that subsets share the pixels. ``labels`` (N,) lie
    in 0 … K-1 and index ``identities``, K distinct names. ``names`` has one text per image, by default identity and
    number. ``digests`` are the SHA-256 of the pixels of every image, where known. Raises :class:`FedfrError` when
    shapes, types or ranges are inconsistent.

    >>> import numpy as np
    >>> from fedfr.faces import FaceSet
    >>> pixels = np.zeros((3, 112, 112, 3), np.uint8)
    >>> faces = FaceSet(pixels, labels=[0, 0, 1], identities=["a", "b"])
    >>> faces
    FaceSet(3 images of 2 identities)
    >>> faces.subset([2]).identities, faces.counts().tolist()
    (('b',), [2, 1])
    """

    def __init__(
        self,
        pixels: PixelSource,
        labels: ArrayLike,
        identities: Sequence[str],
        names: Sequence[str] | None = None,
        rows: ArrayLike | None = None,
        *,
        digests: Digests | None = None,
    ) -> None:
        if pixels.dtype != np.uint8 or pixels.shape[1:] != IMAGE_SHAPE:
            raise FedfrError(f"pixels are {pixels.dtype} {pixels.shape}; expected uint8 (images, 112, 112, 3), RGB")
        self._pixels = pixels
        self._rows = None if rows is None else np.array(rows, dtype=np.int64)
        self.labels = _read_only_labels(labels)
        self.identities: tuple[str, ...] = tuple(identities)
        count = len(pixels) if self._rows is None else len(self._rows)
        if self.labels.shape != (count,):
            raise FedfrError(f"labels have shape {self.labels.shape}; expected one label for each of {count} images")
        if self._rows is not None and count and not 0 <= self._rows.min() <= self._rows.max() < len(pixels):
            raise FedfrError(f"rows reach outside 0 … {len(pixels) - 1}; each must be an image in pixels")
        if count and not 0 <= self.labels.min() <= self.labels.max() < len(self.identities):
            raise FedfrError(
                f"labels lie in {self.labels.min()} … {self.labels.max()}; "
                f"expected 0 … {len(self.identities) - 1}, one for each identity"
            )
        if len(set(self.identities)) != len(self.identities):
            twice = next(name for name, count in Counter(self.identities).items() if count > 1)
            raise FedfrError(f"identity {twice!r} is listed twice; every label needs its own name")
        if names is None:
            names = [f"{self.identities[label]}#{index}" for index, label in enumerate(self.labels.tolist())]
        self.names: Sequence[str] = names if isinstance(names, Column) else tuple(names)
        if len(self.names) != count:
            raise FedfrError(f"{len(self.names)} names for {count} images; expected one each")
        self._stored: tuple[Path, str] | None = None
        self._fingerprint: str | None = None
        self._digests = digests
        self._by_identity: ByIdentity | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"FaceSet({len(self)} images of {self.num_identities} identities)"

    @property
    def num_identities(self) -> int:
        """Number K of identities."""
        return len(self.identities)

    def images(self, indices: Indices) -> NDArray[np.uint8]:
        """Return a contiguous copy (n, 112, 112, 3) of the images at ``indices``, in that order.

        Raises ``IndexError`` for an index out of range.
        """
        chosen = self._checked_indices(indices)
        if self._rows is not None:
            chosen = self._rows[chosen]
        return np.ascontiguousarray(self._pixels[chosen])

    def encoded(self, index: int) -> bytes | None:
        """Return the compressed image at ``index``, or None where the set holds decoded pixels."""
        row = int(self._all_rows()[index])
        return self._pixels.encoded(row) if isinstance(self._pixels, DecodedPixels | JoinedPixels) else None

    @property
    def sets(self) -> tuple[SetPart, ...]:
        """Face sets of which this one is composed; empty for a single set."""
        return self._pixels.sets if isinstance(self._pixels, JoinedPixels) else ()

    def locate(self, indices: Indices) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the number of each image's set in :attr:`sets`, and its index in that set.

        For a single set the number is 0 and the index that in the set they were opened from.
        """
        rows = self._all_rows()[self._checked_indices(indices)]
        return self._pixels.locate(rows) if isinstance(self._pixels, JoinedPixels) else (np.zeros_like(rows), rows)

    def subset(self, indices: Indices) -> FaceSet:
        """Return the images at ``indices``, in that order, without copying pixels.

        Only identities that occur are kept, relabelled 0 … K'-1 by ascending original label.
        """
        chosen = self._checked_indices(indices)
        rows = chosen if self._rows is None else self._rows[chosen]
        labels = self.labels[chosen]
        kept = np.flatnonzero(np.bincount(labels, minlength=self.num_identities))
        place = np.zeros(self.num_identities, np.int64)
        place[kept] = np.arange(len(kept))
        identities = [self.identities[label] for label in kept.tolist()]
        part = FaceSet(self._pixels, place[labels], identities, take_texts(self.names, chosen), rows)
        part._stored = self._stored
        if self._digests is not None:
            part._digests = self._digests.take(chosen)
        return part

    def renamed(self, identities: Sequence[str], names: Sequence[str]) -> FaceSet:
        """Return the same images, in memory only, with other names of identities and images."""
        return FaceSet(self._pixels, self.labels, identities, names, self._rows, digests=self.digests())

    @property
    def folder(self) -> Path | None:
        """Folder of the stored set that this is, or is a part of; None for a set in memory."""
        return None if self._stored is None else self._stored[0]

    def by_identity(self) -> ByIdentity:
        """Return the images grouped by identity; computed once."""
        if self._by_identity is None:
            self._by_identity = ByIdentity(self.labels, self.num_identities)
        return self._by_identity

    def indices_of(self, label: int) -> NDArray[np.int64]:
        """Return the indices of the images of one identity, ascending."""
        return self.by_identity().images(label)

    def identities_of(self, indices: Indices) -> tuple[str, ...]:
        """Return the names of the identities of the images at ``indices``, in the order that :meth:`subset` uses."""
        return tuple(
            self.identities[label] for label in np.unique(self.labels[self._checked_indices(indices)]).tolist()
        )

    def counts(self) -> NDArray[np.int64]:
        """Return the number of images per identity, (K,)."""
        return np.bincount(self.labels, minlength=self.num_identities).astype(np.int64)

    def digests(self) -> Digests:
        """Return the SHA-256 of the pixels of every image; equal digests mean equal images.

        A stored set, or a part of one, reads them from ``digests.npy`` if that matches its fingerprint; otherwise all
        pixels are read.
        """
        if self._digests is None:
            self._digests = self._stored_digests()
        if self._digests is None and isinstance(self._pixels, DecodedPixels):
            self._digests = Digests.of(self._pixels.digests(self._all_rows()))
        if self._digests is None:
            self._digests = Digests.of(hashlib.sha256(image.tobytes()).digest() for image in self._iterate_images())
        return self._digests

    def _stored_digests(self) -> Digests | None:
        if self._stored is None:
            return None
        folder, expected = self._stored
        if self._rows is None:
            return read_digests(folder / DIGESTS, self.labels, self.identities, expected)
        whole = self.load(folder)
        kept = whole._stored_digests() if whole._stored == self._stored else None
        return None if kept is None else kept.take(self._rows)

    def fingerprint(self) -> str:
        """Return the hexadecimal SHA-256 of labels, identities and pixels; a stored set has it in ``faces.json``."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint(self.labels, self.identities, self.digests())
        return self._fingerprint

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``faces.json``, ``columns.dat``, ``digests.npy`` and ``pixels.npy`` into ``folder``, atomically.

        Raises :class:`FedfrError` when the folder is not empty or cannot be written.
        """
        write_faces(Path(folder).resolve(), self.labels, self.identities, self.names, self._iterate_images())

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> FaceSet:
        """Open a folder written by :meth:`save` or an importer; pixels are memory-mapped or decoded on access.

        Raises :class:`FedfrError` when the folder, or a file that it refers to, is missing or damaged.
        """
        path = Path(folder).resolve()
        stored = read_faces(path)
        faces = cls(stored.pixels, stored.labels, stored.identities, stored.names)
        faces._fingerprint = stored.fingerprint
        faces._stored = path, stored.fingerprint
        return faces

    def _checked_indices(self, indices: Indices) -> NDArray[np.int64]:
        given = np.asarray(indices)
        if given.dtype == np.bool_ and given.shape == (len(self),):
            return np.flatnonzero(given).astype(np.int64)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise TypeError(f"image indices are {given.dtype} {given.shape}; give a list of integers or one bool each")
        chosen = given.astype(np.int64)
        if chosen.size and not -len(self) <= chosen.min() <= chosen.max() < len(self):
            raise IndexError(f"image indices reach from {chosen.min()} to {chosen.max()}; there are {len(self)} images")
        return np.where(chosen < 0, chosen + len(self), chosen)

    def _all_rows(self) -> NDArray[np.int64]:
        return np.arange(len(self)) if self._rows is None else self._rows

    def _iterate_images(self) -> Iterator[NDArray[np.uint8]]:
        rows = self._all_rows()
        for start in range(0, len(rows), CHUNK):
            yield from self._pixels[rows[start : start + CHUNK]]

    def __reduce__(self) -> tuple[Any, ...]:
        # A stored set is pickled as the path of its folder, a part of it together with its rows.
        if self._stored is not None:
            return _reopened, (*self._stored, self._rows)
        made = FaceSet, (self._pixels, self.labels, self.identities, self.names, self._rows)
        return *made, {"_fingerprint": self._fingerprint, "_digests": self._digests}


def _read_only_labels(labels: ArrayLike) -> NDArray[np.int64]:
    """Return labels as a read-only array; copied unless they are one already, as memory-mapped labels are."""
    if isinstance(labels, np.ndarray) and labels.dtype == np.int64 and not labels.flags.writeable:
        return labels
    copied = np.array(labels, dtype=np.int64)
    copied.flags.writeable = False
    return copied


def _reopened(folder: Path, expected: str, rows: NDArray[np.int64] | None) -> FaceSet:
    faces = FaceSet.load(folder)
    if faces.fingerprint() != expected:
        raise FedfrError(f"the faces in {folder} have changed; restore the original faces, or start again")
    return faces if rows is None else faces.subset(rows)
