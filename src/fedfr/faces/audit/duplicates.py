"""The same picture more than once: within an identity, under two, or in two parts of a split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedfr.faces.audit.findings import Case, Finding, finding
from fedfr.faces.audit.likeness import groups_alike, likeness
from fedfr.faces.audit.measures import Measures
from fedfr.faces.audit.places import Places
from fedfr.faces.copies import copies
from fedfr.faces.faceset import FaceSet

__all__ = ["check_duplicates"]

# Of a group too large to compare every two, the first so many by name.
COMPARED = 1000


def check_duplicates(faces: FaceSet, measures: Measures, places: Places) -> list[Finding]:
    """Findings ``exact-duplicates``, ``near-duplicates``, ``picture-of-two-people`` and ``picture-in-two-parts``.

    A group of pictures is one case, named under identities and parts where it is in several; ``value`` is the greatest
    correlation of two that are not exact copies, 1 where all are.
    """
    by_kind: dict[str, list[Case]] = {
        "exact-duplicates": [],
        "near-duplicates": [],
        "picture-of-two-people": [],
        "picture-in-two-parts": [],
    }
    exact = {images[0]: images for images in copies(measures.digests)}
    repeated = {index for images in exact.values() for index in images[1:]}
    distinct = [index for index in range(len(faces)) if index not in repeated]
    near = [
        sorted((distinct[place] for place in group), key=faces.names.__getitem__)
        for group in groups_alike(measures.small[distinct])
    ]
    linked = {index for group in near for index in group}
    for group in [*near, *([first] for first in exact if first not in linked)]:
        images = sorted((index for first in group for index in exact.get(first, [first])), key=faces.names.__getitem__)
        case = _case(faces, places, images, _greatest(measures, group))
        if len(case.identities) > 1:
            by_kind["picture-of-two-people"].append(case)
        else:
            by_kind["near-duplicates" if len(group) > 1 else "exact-duplicates"].append(case)
        if len(case.parts) > 1:
            by_kind["picture-in-two-parts"].append(case)
    return [found for kind, cases in by_kind.items() for found in finding(kind, cases)]


def _case(faces: FaceSet, places: Places, images: Sequence[int], value: float) -> Case:
    identities = {faces.identities[label] for label in faces.labels[list(images)].tolist()}
    return Case(
        tuple(faces.names[index] for index in images), tuple(sorted(identities)), places.parts_of(images), value
    )


def _greatest(measures: Measures, group: Sequence[int]) -> float:
    if len(group) == 1:
        return 1.0
    alike = likeness(measures.small[list(group)[:COMPARED]])
    np.fill_diagonal(alike, -1)
    return round(float(alike.max()), 4)
