"""Images of several face sets, one set after the other, and the translation between indices of a set and the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.index_ranges import format_ranges, parse_ranges
from fedfr.faces.pixels import IMAGE_SHAPE

__all__ = ["Images", "JoinedPixels", "SetPart"]


class Images(Protocol):
    """Images that are read by index; a :class:`fedfr.faces.FaceSet` is one."""

    def images(self, indices: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Pixels (n, 112, 112, 3) of some images, in their order."""
        ...

    def encoded(self, index: int, /) -> bytes | None:
        """The compressed image, or None where there is none."""
        ...


@dataclass(frozen=True)
class SetPart:
    """One of several face sets in a whole: its name, its role (``public``, ``private``, ``generic``) and fingerprint.

    Its images are ``start`` … ``start + images - 1`` of the whole. ``left_out`` maps each of its identities that the
    whole does not have to the reason.
    """

    name: str
    role: str
    fingerprint: str
    start: int
    images: int
    identities: int
    left_out: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in a manifest; ``images`` is the range in the whole."""
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
        """What :meth:`to_dict` gave; raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        images = parse_ranges(str(content["images"]))
        start = int(images[0]) if len(images) else 0
        if not np.array_equal(images, np.arange(start, start + len(images))):
            raise ValueError(f"images {content['images']!r} of a face set are not one range")
        left_out = {str(name): str(reason) for name, reason in dict(content["left_out"]).items()}
        name, role, fingerprint = (str(content[key]) for key in ("name", "role", "fingerprint"))
        return cls(name, role, fingerprint, start, len(images), int(content["identities"]), left_out)

    def describe(self) -> str:
        """In words, for a report."""
        role = "" if self.name == self.role else f"{self.role}, "
        left = f", {len(self.left_out)} left out" if self.left_out else ""
        counts = f"{self.images} images of {self.identities} identities{left}"
        return f"{self.name} ({role}{counts}, fingerprint {self.fingerprint[:12]})"


class JoinedPixels:
    """A :class:`~fedfr.faces.pixels.PixelSource` of several face sets; no pixel is copied before it is asked for.

    ``own`` has for each set the indices of its images that are in the whole, ascending, or None for all of them.
    """

    def __init__(
        self, sets: Sequence[SetPart], images: Sequence[Images], own: Sequence[NDArray[np.int64] | None]
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

    def located(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each row of the whole, the number of its set in :attr:`sets` and its index in that set."""
        which = np.searchsorted(self._ends, rows, side="right").astype(np.int64)
        own = np.empty(len(rows), np.int64)
        for number in map(int, np.unique(which)):
            here = which == number
            own[here] = self._in_set(number, rows[here])
        return which, own

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Pixels of some rows, in their order."""
        which, own = self.located(rows)
        pixels = np.empty((len(rows), *IMAGE_SHAPE), np.uint8)
        for number in map(int, np.unique(which)):
            here = which == number
            if here.all():
                return self._images[number].images(own)
            pixels[here] = self._images[number].images(own[here])
        return pixels

    def encoded(self, row: int) -> bytes | None:
        """The compressed image of one row where its set decodes it from a file, else None."""
        number, own = (int(found[0]) for found in self.located(np.array([row], np.int64)))
        return self._images[number].encoded(own)

    def _in_set(self, number: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        kept, inside = self._own[number], rows - self.sets[number].start
        return inside if kept is None else kept[inside]
