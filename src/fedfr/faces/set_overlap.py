"""Detection of identities that are in more than one face set, by names and by pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.array_columns import Digests
from fedfr.faces.faceset import FaceSet
from fedfr.faces.name_matching import matching_names, quoted_name

__all__ = ["IMAGE", "NAME", "SIMILAR", "IdentityOverlap", "describe_overlaps", "shared_identity_names", "shared_images"]

NAME, IMAGE, SIMILAR = "same name as", "same image as in", "looks like"
LISTED = 3


@dataclass(frozen=True)
class IdentityOverlap:
    """Identity ``identity`` of set number ``first`` that is the same person as ``other`` of a later set, and why."""

    first: int
    identity: str
    second: int
    other: str
    reason: str


def shared_identity_names(sets: Sequence[Sequence[str]]) -> list[IdentityOverlap]:
    """Return the identities of two sets whose names are equal or look the same; ``sets`` are the names of each set."""
    return [
        IdentityOverlap(first, name, second, other, NAME)
        for second in range(len(sets))
        for first in range(second)
        for other, name in matching_names(sets[second], sets[first])
    ]


def shared_images(sets: Sequence[FaceSet], kept: Sequence[NDArray[np.int64]]) -> list[IdentityOverlap]:
    """Return the identities of two sets that share an image, among the images ``kept`` of each set."""
    digests = Digests(np.concatenate([faces.digests().rows[rows] for faces, rows in zip(sets, kept, strict=True)]))
    number = np.repeat(np.arange(len(sets)), [len(rows) for rows in kept])
    labels = np.concatenate([faces.labels[rows] for faces, rows in zip(sets, kept, strict=True)])
    images, starts = digests.duplicates()
    found: dict[IdentityOverlap, None] = {}
    for group in np.split(images, starts[1:]) if len(images) else []:
        owners = sorted({(number[image], labels[image]) for image in group.tolist()})
        (first, label), *others = owners
        name = sets[first].identities[label]
        for second, other in others:
            if second != first:
                found[IdentityOverlap(int(first), name, int(second), sets[second].identities[other], IMAGE)] = None
    return list(found)


def describe_overlaps(names: Sequence[str], found: Sequence[IdentityOverlap]) -> str:
    """Describe the number of identities in several sets and the first of them; ``names`` are the names of the sets."""
    identities = {(each.second, each.other): each for each in reversed(found)}
    listed = [
        f"{quoted_name(each.other)} of {names[each.second]} "
        f"({each.reason} {quoted_name(each.identity)} of {names[each.first]})"
        for each in list(identities.values())[::-1][:LISTED]
    ]
    more = f" and {len(identities) - LISTED} more" if len(identities) > LISTED else ""
    counted = "1 identity is" if len(identities) == 1 else f"{len(identities)} identities are"
    return f"{counted} in more than one face set: {'; '.join(listed)}{more}"
