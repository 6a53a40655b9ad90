"""The very same image more than once in a set of faces, and a set without it."""

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
    """Groups of images with equal digests, two or more each; images ascending, groups by their first."""
    images, starts = digests.copies()
    return [part.tolist() for part in np.split(images, starts[1:])] if len(images) else []


def without_duplicates(faces: FaceSet) -> NDArray[np.int64]:
    """Images left, ascending, when :func:`omitted_duplicates` are dropped."""
    return remaining_images(faces, omitted_duplicates(faces))


def omitted_duplicates(faces: FaceSet) -> tuple[OmittedImage, ...]:
    """Images to leave out for the set to hold none twice, ascending, each with the reason.

    Of copies under one identity the first stays; of an image under several identities none does, because at least one
    of its labels is wrong and nothing says which.
    """
    left: dict[int, str] = {}
    images, starts = faces.digests().copies()
    for group in np.split(images, starts[1:]) if len(images) else []:
        rows = group.tolist()
        people = sorted({faces.identities[label] for label in faces.labels[group].tolist()})
        if len(people) == 1:
            left |= dict.fromkeys(rows[1:], f"copy of {faces.names[rows[0]]}")
        else:
            left |= dict.fromkeys(rows, f"one image under {len(people)} identities: {', '.join(people)}")
    return tuple(
        OmittedImage(index, faces.names[index], faces.identities[int(faces.labels[index])], left[index])
        for index in sorted(left)
    )


def remap_split(split: Split, kept: NDArray[np.int64], faces: FaceSet) -> Split:
    """A split of the images ``kept`` of ``faces`` as a split of all of them."""

    def whole(images: Sequence[int]) -> ImageIndices:
        return ImageIndices(kept[np.asarray(images, np.int64)])

    return replace(
        split,
        faces_fingerprint=faces.fingerprint(),
        public=whole(split.public),
        clients={
            client: replace(part, train=whole(part.train), test=whole(part.test))
            for client, part in split.clients.items()
        },
        generic=whole(split.generic),
        distractors=whole(split.distractors),
        pairs=tuple((int(kept[first]), int(kept[second])) for first, second in split.pairs),
    )
