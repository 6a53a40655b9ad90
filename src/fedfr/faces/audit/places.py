"""In which part of a split every image stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.faceset import FaceSet
from fedfr.faces.split_parts import UNSEEN
from fedfr.faces.splits import Split

__all__ = ["Places"]


@dataclass(frozen=True)
class Places:
    """``parts`` of each image as messages name them (``public``, ``client-01 train``, …; empty: in none).

    ``owners`` are the same without train and test: who holds the image. Without a split all are empty.
    """

    parts: tuple[str, ...]
    owners: tuple[str, ...]

    @classmethod
    def of(cls, faces: FaceSet, split: Split | None) -> Places:
        """Raises :class:`~fedfr.errors.FedfrError` when the split was made for other faces."""
        parts, owners = [""] * len(faces), [""] * len(faces)
        if split is not None:
            split.check_faces(faces)
            groups = {"public": ("public", split.public), UNSEEN: (UNSEEN, split.generic + split.distractors)}
            for client, images in split.clients.items():
                groups |= {f"{client} train": (client, images.train), f"{client} test": (client, images.test)}
            for part, (owner, indices) in groups.items():
                for index in indices:
                    parts[index], owners[index] = part, owner
        return cls(tuple(parts), tuple(owners))

    def parts_of(self, images: Iterable[int]) -> tuple[str, ...]:
        """The distinct parts these images stand in, sorted; those in none are left out."""
        return tuple(sorted({self.parts[index] for index in images} - {""}))

    def owners_of(self, images: Iterable[int]) -> tuple[str, ...]:
        """The distinct owners of these images, sorted; those in no part are left out."""
        return tuple(sorted({self.owners[index] for index in images} - {""}))

    @property
    def groups(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Owners that occur, sorted, and for each image (N,) which of them holds it: they may prepare faces apart."""
        names, numbers = np.unique(np.array(self.owners, dtype=object).astype(str), return_inverse=True)
        return tuple(names.tolist()), numbers.astype(np.int64)
