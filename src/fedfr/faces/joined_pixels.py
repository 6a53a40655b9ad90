"""Pixel source that concatenates several face sets, and conversion of indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.index_ranges import format_ranges, parse_ranges
from fedfr.faces.pixels import IMAGE_SHAPE

__all__ = ["IndexedImages", "JoinedPixels", "SetPart"]


class IndexedImages(Protocol):
    """Interface of images read by index; a :class:`fedfr.faces.FaceSet` implements it."""

    def images(self, indices: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Return the pixels (n, 112, 112, 3) of some images, in their order."""
        ...

    def encoded(self, index: int, /) -> bytes | None:
        """Return the compressed image, or None if the set holds decoded pixels."""
        ...


@dataclass(frozen=True)
class SetPart:
    """One of several combined face sets: its name, role (``public``, ``private``, ``generic``) and fingerprint.

    Its images are ``start`` … ``start + images - 1`` of the combined set. ``left_out`` maps its omitted identities to
    the reasons.
    """

    name: str
    role: str
    fingerprint: str
    start: int
    images: int
    identities: int
    left_out: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as in a manifest; ``images`` is the range in the combined set."""
        return {
            "name": self.name,
            "role": self.role,
            "fingerprint": self.fingerprint,
            "identities": self.identities,
            "images": format_ranges(range(self.start, self.start + self.images)),
            "left_out": dict(self.left_out),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> SetPart:
        """Parse a result of :meth:`to_dict`; raises ``KeyError``, ``TypeError`` or ``ValueError`` for other content."""
        images = parse_ranges(str(content["images"]))
        start = int(images[0]) if len(images) else 0
        if not np.array_equal(images, np.arange(start, start + len(images))):
            raise ValueError(f"images {content['images']!r} of a face set are not one range")
        left_out = {str(name): str(reason) for name, reason in dict(content["left_out"]).items()}
        name, role, fingerprint = (str(content[key]) for key in ("name", "role", "fingerprint"))
        return cls(name, role, fingerprint, start, len(images), int(content["identities"]), left_out)

    def describe(self) -> str:
        """Describe the set in one line for a report."""
        role = "" if self.name == self.role else f"{self.role}, "
        left = f", {len(self.left_out)} left out" if self.left_out else ""
        counts = f"{self.images} images of {self.identities} identities{left}"
        return f"{self.name} ({role}{counts}, fingerprint {self.fingerprint[:12]})"


class JoinedPixels:
    """A :class:`~fedfr.faces.pixels.PixelSource` over several face sets, which reads pixels on access.

    ``own`` has for each set the ascending indices of its images that are included, or None for all.
    """

    def __init__(
        self, sets: Sequence[SetPart], images: Sequence[IndexedImages], own: Sequence[NDArray[np.int64] | None]
    ) -> None:
        self.sets = tuple(sets)
        self._images = tuple(images)
        self._own = tuple(own)
        self._ends = np.cumsum([part.images for part in self.sets], dtype=np.int64)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Always uint8."""
        return np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """(M, 112, 112, 3)."""
        return (len(self), *IMAGE_SHAPE)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def locate(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return for each row the number of its set in :attr:`sets`, and its index in that set."""
        which = np.searchsorted(self._ends, rows, side="right").astype(np.int64)
        own = np.empty(len(rows), np.int64)
        for number in map(int, np.unique(which)):
            here = which == number
            own[here] = self._in_set(number, rows[here])
        return which, own

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Return the pixels of some rows, in their order."""
        which, own = self.locate(rows)
        pixels = np.empty((len(rows), *IMAGE_SHAPE), np.uint8)
        for number in map(int, np.unique(which)):
            here = which == number
            if here.all():
                return self._images[number].images(own)
            pixels[here] = self._images[number].images(own[here])
        return pixels

    def encoded(self, row: int) -> bytes | None:
        """Return the compressed image of one row if its set decodes it from a file, else None."""
        number, own = (int(found[0]) for found in self.locate(np.array([row], np.int64)))
        return self._images[number].encoded(own)

    def _in_set(self, number: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        kept, inside = self._own[number], rows - self.sets[number].start
        return inside if kept is None else kept[inside]
