"""Assignment of images to the parts of a split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.array_columns import concatenate_indices
from fedfr.faces.faceset import FaceSet
from fedfr.faces.splits.split import Split
from fedfr.faces.splits.split_parts import STRANGERS, UNSEEN

__all__ = ["SplitMembership"]


@dataclass(frozen=True)
class SplitMembership:
    """The split part of each image (``public``, ``client-01 train``, …) and its owner (the part without train or test).

    ``parts`` and ``owners`` (N,) index ``part_names`` and ``owner_names``, whose first entry is an empty name for
    images in no part. Without a split, all images are in no part.
    """

    parts: NDArray[np.int32]
    owners: NDArray[np.int32]
    part_names: tuple[str, ...] = ("",)
    owner_names: tuple[str, ...] = ("",)

    @classmethod
    def of(cls, faces: FaceSet, split: Split | None) -> SplitMembership:
        """Look up all images of ``faces``.

        Raises :class:`~fedfr.core.errors.FedfrError` when the split was made for other faces.
        """
        parts, owners = np.zeros(len(faces), np.int32), np.zeros(len(faces), np.int32)
        if split is None:
            return cls(parts, owners)
        split.check_faces(faces)
        groups = {
            "public": ("public", split.public),
            UNSEEN: (UNSEEN, concatenate_indices([split.generic, split.distractors])),
            STRANGERS: (STRANGERS, split.strangers),
        }
        for client, images in split.clients.items():
            groups |= {f"{client} train": (client, images.train), f"{client} test": (client, images.test)}
        names = ["", *dict.fromkeys(owner for owner, _ in groups.values())]
        for number, (owner, indices) in enumerate(groups.values(), start=1):
            rows = np.asarray(indices, np.int64)
            parts[rows], owners[rows] = number, names.index(owner)
        return cls(parts, owners, ("", *groups), tuple(names))

    def parts_of(self, images: Iterable[int]) -> tuple[str, ...]:
        """Return the distinct parts of these images, sorted; images in no part are ignored."""
        return tuple(sorted({self.part_names[self.parts[index]] for index in images} - {""}))

    def owners_of(self, images: Iterable[int]) -> tuple[str, ...]:
        """Return the distinct owners of these images, sorted; images in no part are ignored."""
        return tuple(sorted({self.owner_names[self.owners[index]] for index in images} - {""}))

    @property
    def groups(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Owners that occur, sorted, and the index of each image's owner among them (N,)."""
        occur = sorted(self.owner_names[owner] for owner in np.unique(self.owners).tolist())
        place = np.array([occur.index(name) if name in occur else -1 for name in self.owner_names], np.int64)
        return tuple(occur), place[self.owners]
