"""Splits that omit images, with the reasons."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.exact_duplicates import omitted_duplicates, remap_split
from fedfr.faces.exclusions import OmittedImage, lost_identities, read_exclusions, remaining_images
from fedfr.faces.faceset import FaceSet
from fedfr.faces.readers.pairs.face_pairs import read_pairs
from fedfr.faces.splits.partition_files import read_partitions
from fedfr.faces.splits.split import Split

__all__ = ["make_split_without", "omitted_images"]

LOG = logging.getLogger(__name__)
MAX_LISTED = 3


def omitted_images(faces: FaceSet, exclude: str | Path | None, *, duplicates: bool) -> tuple[OmittedImage, ...]:
    """Return the images that a list of findings marks and, with ``duplicates``, exact duplicates among the others."""
    marked = () if exclude is None else read_exclusions(exclude, faces)
    if not duplicates:
        return marked
    # Marked images are removed first: the remaining copy of a marked image is not a duplicate.
    kept = remaining_images(faces, marked)
    more = (replace(each, index=int(kept[each.index])) for each in omitted_duplicates(faces.subset(kept)))
    return tuple(sorted((*marked, *more), key=lambda each: each.index))


def make_split_without(
    make: Callable[..., Split], faces: FaceSet, settings: Mapping[str, Any], omitted: tuple[OmittedImage, ...]
) -> Split:
    """Make a split of ``faces`` without the omitted images, which are recorded in it and logged."""
    kept = remaining_images(faces, omitted)
    split = remap_split(make(faces.subset(kept), **_settings_for_subset(settings, faces, kept)), kept, faces)
    split = replace(split, left_out=omitted, lost_identities=lost_identities(faces, omitted))
    _log_omissions(split)
    return split


def _settings_for_subset(settings: Mapping[str, Any], faces: FaceSet, kept: NDArray[np.int64]) -> dict[str, Any]:
    """Return the settings with those that refer to all images restricted to the images ``kept``."""
    part = dict(settings)
    if isinstance(part.get("pairs"), str):
        # Read here, since the list may name omitted images.
        new_index = {index: number for number, index in enumerate(kept.tolist())}
        pairs = (pair for pair in read_pairs(part["pairs"], faces) if new_index.keys() >= {*pair})
        part["pairs"] = tuple((new_index[first], new_index[second]) for first, second in pairs)
    given = part.get("partition")
    if given is not None:
        whole = read_partitions(given, faces) if isinstance(given, str) else list(given)
        if len(whole) == len(faces):
            part["partition"] = [whole[index] for index in kept.tolist()]
    return part


def _log_omissions(split: Split) -> None:
    images = ", ".join(f"{each.image} ({each.reason})" for each in split.left_out[:MAX_LISTED])
    more = f" and {len(split.left_out) - MAX_LISTED} more" if len(split.left_out) > MAX_LISTED else ""
    lost = split.lost_identities
    names = ", ".join(lost[:MAX_LISTED]) + (f" and {len(lost) - MAX_LISTED} more" if len(lost) > MAX_LISTED else "")
    LOG.warning(
        "the split leaves out %d images: %s%s; %s; all are listed in its manifest",
        len(split.left_out),
        images,
        more,
        f"{len(lost)} identities have no images left: {names}" if lost else "every identity has images left",
    )
