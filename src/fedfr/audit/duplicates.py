"""Detection of duplicate images: within an identity, under two identities, or in two parts of a split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.audit.findings import Case, Finding, make_findings
from fedfr.audit.measures import ImageMeasurements
from fedfr.audit.near_duplicates import (
    MIN_CORRELATION,
    MIN_OVERLAP_CORRELATION,
    near_duplicate_groups,
    pair_correlations,
)
from fedfr.audit.split_membership import SplitMembership
from fedfr.faces.exact_duplicates import duplicate_groups
from fedfr.faces.faceset import FaceSet

__all__ = ["check_duplicates"]

# Of larger groups only this many images, the first by name, are compared pairwise.
MAX_COMPARED = 1000


def check_duplicates(faces: FaceSet, measures: ImageMeasurements, membership: SplitMembership) -> list[Finding]:
    """Return findings ``exact-duplicates``, ``near-duplicates``, ``image-of-two-people`` and ``image-in-two-parts``.

    A group of linked images is one case; ``value`` is the greatest correlation of two images that are not exact copies,
    or 1 where all are exact copies. For the last two kinds only the images linked to one of another identity or part
    are listed, with the greatest correlation of such a link.
    """
    by_kind: dict[str, list[Case]] = {
        "exact-duplicates": [],
        "near-duplicates": [],
        "image-of-two-people": [],
        "image-in-two-parts": [],
    }
    exact = {images[0]: images for images in duplicate_groups(measures.digests)}
    repeated = {index for images in exact.values() for index in images[1:]}
    distinct = [index for index in range(len(faces)) if index not in repeated]
    near = [
        sorted((distinct[place] for place in group), key=faces.names.__getitem__)
        for group in near_duplicate_groups(measures.thumbnails[distinct], measures.content[distinct])
    ]
    linked = {index for group in near for index in group}
    for group in [*near, *([first] for first in exact if first not in linked)]:
        copied = [exact.get(first, [first]) for first in group]
        compared = measures.thumbnails[group[:MAX_COMPARED]]
        correlations = pair_correlations(compared, measures.content[group[:MAX_COMPARED]])
        np.fill_diagonal(correlations, -1)
        links = (correlations >= MIN_OVERLAP_CORRELATION) & (pair_correlations(compared) >= MIN_CORRELATION)
        people = _images_across(copied, correlations, links, faces.labels, -1)
        if people is None:
            value = round(float(correlations.max()), 4) if len(group) > 1 else 1.0
            everything = [index for images in copied for index in images]
            kind = "near-duplicates" if len(group) > 1 else "exact-duplicates"
            by_kind[kind].append(_case(faces, membership, everything, value))
        else:
            by_kind["image-of-two-people"].append(_case(faces, membership, *people))
        parts = _images_across(copied, correlations, links, membership.parts, 0)
        if parts is not None:
            by_kind["image-in-two-parts"].append(_case(faces, membership, *parts))
    return [found for kind, cases in by_kind.items() for found in make_findings(kind, cases)]


def _images_across(
    copied: Sequence[Sequence[int]],
    correlations: NDArray[np.float32],
    links: NDArray[np.bool_],
    of: NDArray[np.integer[Any]],
    none: int,
) -> tuple[list[int], float] | None:
    """Return the images of a group linked to one with another value in ``of``, and the greatest such correlation.

    ``copied`` lists every image with its exact copies; images beyond the size of ``correlations`` were not compared.
    ``links`` marks the pairs that count as the same image. ``none`` marks a missing value in ``of``. The result is None
    where all images have the same value.
    """
    values = [{int(of[index]) for index in images} - {none} for images in copied]
    if len(set().union(*values)) < 2:
        return None
    membership = {place for place, found in enumerate(values) if len(found) > 1}
    greatest = 1.0 if membership else -1.0
    for row, column in np.argwhere(links).tolist():
        if len(values[row] | values[column]) > 1 and values[row] and values[column]:
            membership.add(row)
            greatest = max(greatest, float(correlations[row, column]))
    if not membership:
        # The link runs through images without a value, or through images that were not compared.
        membership, greatest = set(range(len(copied))), float(correlations.max())
    return [index for place in sorted(membership) for index in copied[place]], round(min(greatest, 1.0), 4)


def _case(faces: FaceSet, membership: SplitMembership, images: Sequence[int], value: float) -> Case:
    images = sorted(images, key=faces.names.__getitem__)
    identities = {faces.identities[label] for label in faces.labels[list(images)].tolist()}
    return Case(
        tuple(faces.names[index] for index in images), tuple(sorted(identities)), membership.parts_of(images), value
    )
