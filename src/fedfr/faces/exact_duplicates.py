"""Exact duplicate images of a face set, and their removal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.array_columns import Digests, ImageIndices
from fedfr.faces.exclusions import OmittedImage, remaining_images
from fedfr.faces.faceset import FaceSet
from fedfr.faces.splits.split import Split

__all__ = ["duplicate_groups", "omitted_duplicates", "remap_split", "without_duplicates"]


def duplicate_groups(digests: Digests) -> list[list[int]]:
    """Return groups of two or more images with equal digests, ascending, ordered by their first image."""
    images, starts = digests.duplicates()
    return [part.tolist() for part in np.split(images, starts[1:])] if len(images) else []


def without_duplicates(faces: FaceSet) -> NDArray[np.int64]:
    """Return the indices of the images that remain, ascending, after :func:`omitted_duplicates` are removed."""
    return remaining_images(faces, omitted_duplicates(faces))


def omitted_duplicates(faces: FaceSet) -> tuple[OmittedImage, ...]:
    """Return the images to omit so that no image occurs twice, ascending, each with the reason.

    Of copies under one identity the first remains. Of an image under several identities none remains, because at least
    one label is wrong and it is unknown which.
    """
    left: dict[int, str] = {}
    images, starts = faces.digests().duplicates()
    for group in np.split(images, starts[1:]) if len(images) else []:
        rows = group.tolist()
        owners = sorted({faces.identities[label] for label in faces.labels[group].tolist()})
        if len(owners) == 1:
            left |= dict.fromkeys(rows[1:], f"copy of {faces.names[rows[0]]}")
        else:
            left |= dict.fromkeys(rows, f"one image under {len(owners)} identities: {', '.join(owners)}")
    return tuple(
        OmittedImage(index, faces.names[index], faces.identities[int(faces.labels[index])], left[index])
        for index in sorted(left)
    )


def remap_split(split: Split, kept: NDArray[np.int64], faces: FaceSet) -> Split:
    """Convert a split of the subset ``kept`` of ``faces`` to a split of the whole set."""

    def remapped(images: Sequence[int]) -> ImageIndices:
        return ImageIndices(kept[np.asarray(images, np.int64)])

    return replace(
        split,
        faces_fingerprint=faces.fingerprint(),
        public=remapped(split.public),
        clients={
            client: replace(part, train=remapped(part.train), test=remapped(part.test))
            for client, part in split.clients.items()
        },
        generic=remapped(split.generic),
        distractors=remapped(split.distractors),
        strangers=remapped(split.strangers),
        pairs=tuple((int(kept[first]), int(kept[second])) for first, second in split.pairs),
    )
