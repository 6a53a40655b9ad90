"""Strangers of a split: generic identities set apart for the calibration of thresholds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces.array_columns import ImageIndices, concatenate_indices
from fedfr.faces.faceset import FaceSet
from fedfr.faces.splits.assignment import in_role
from fedfr.faces.splits.split import Split
from fedfr.faces.splits.split_parts import labels_of

__all__ = ["set_strangers_apart"]


def set_strangers_apart(split: Split, faces: FaceSet, count: int) -> Split:
    """Return the split with ``count`` of its generic identities as strangers, with all their images.

    Generic and distractor identities, except those of private face sets and of the split's pairs, are sorted by name
    and shuffled with the split's seed; the first ``count`` become strangers. They leave the generic part and the
    distractors, so that no test uses people whom thresholds were calibrated with; public and client identities are
    those of the split without strangers. Raises :class:`FedfrError` if there are too few.
    """
    if not count:
        return split
    unseen = concatenate_indices([split.generic, split.distractors])
    free = np.setdiff1d(labels_of(faces, unseen), labels_of(faces, split.pair_images())).tolist()
    if faces.sets:
        free = [*in_role(faces, free, "public"), *in_role(faces, free, "generic")]
    if count > len(free):
        paired = " that are in no pair" if split.pairs else ""
        paired += ", and in no private face set" if faces.sets else ""
        raise FedfrError(
            f"the split needs {count} strangers, but has {len(free)} generic identities{paired}; "
            "lower stranger_identities, or give it more generic identities"
        )
    free.sort(key=faces.identities.__getitem__)
    random.Random(split.seed).shuffle(free)
    chosen = np.zeros(faces.num_identities, np.bool_)
    chosen[free[:count]] = True

    def part(images: Sequence[int] | NDArray[np.int64], *, strangers: bool) -> ImageIndices:
        rows = np.asarray(images, np.int64)
        return ImageIndices(rows[chosen[faces.labels[rows]] == strangers])

    return replace(
        split,
        generic=part(split.generic, strangers=False),
        distractors=part(split.distractors, strangers=False),
        strangers=ImageIndices(np.union1d(part(unseen, strangers=True), np.asarray(split.strangers, np.int64))),
    )
