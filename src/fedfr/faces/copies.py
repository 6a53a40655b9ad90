"""The very same picture more than once in a set of faces, and a set without it."""

from __future__ import annotations

from dataclasses import replace

from fedfr.faces.faceset import FaceSet
from fedfr.faces.splits import ClientFaces, Split

__all__ = ["copies", "in_whole", "without_copies"]


def copies(digests: tuple[bytes, ...]) -> list[list[int]]:
    """Groups of images with equal digests, two or more each; images ascending, groups by their first."""
    groups: dict[bytes, list[int]] = {}
    for index, digest in enumerate(digests):
        groups.setdefault(digest, []).append(index)
    return [images for images in groups.values() if len(images) > 1]


def without_copies(faces: FaceSet) -> list[int]:
    """Images left, ascending, when copies are dropped.

    Of copies under one identity the first stays; of a picture under several identities none does, because at least one
    of its labels is wrong and nothing says which.
    """
    labels = faces.labels.tolist()
    dropped: set[int] = set()
    for images in copies(faces.digests()):
        one_person = len({labels[index] for index in images}) == 1
        dropped.update(images[1:] if one_person else images)
    return [index for index in range(len(faces)) if index not in dropped]


def in_whole(split: Split, kept: list[int], faces: FaceSet) -> Split:
    """A split of the images ``kept`` of ``faces`` as a split of all of them."""

    def whole(images: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(kept[index] for index in images)

    return replace(
        split,
        faces_fingerprint=faces.fingerprint(),
        public=whole(split.public),
        clients={client: ClientFaces(whole(part.train), whole(part.test)) for client, part in split.clients.items()},
        generic=whole(split.generic),
        distractors=whole(split.distractors),
        pairs=tuple((kept[first], kept[second]) for first, second in split.pairs),
    )
