"""Checks of how images were prepared: colour order, crop and grey images.

Each owner is checked separately, as owners may prepare their faces differently.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fedfr.audit.crops import MIN_IMAGES, locate_mean_face
from fedfr.audit.findings import Case, Finding, make_findings
from fedfr.audit.measures import ImageMeasurements
from fedfr.audit.unusable_images import are_blank

__all__ = ["MAX_BLUE", "MAX_GREY_DIFFERENCE", "check_preparation"]

MAX_GREY_DIFFERENCE = 1.0
"""Mean absolute difference of red and blue, in grey levels, below which an image counts as grey."""

MIN_REDNESS = -5.0
"""Redness of the skin, in grey levels, below which a face counts as blue; skin of every tone is redder than blue."""

MAX_BLUE = 0.02
"""Share of blue faces that coloured light may cause in a set; it is 0.0002 on LFW."""

MIN_BLUE = 3
# From this share on the whole set is reported as one case, below it each image.
MIN_WHOLE_SET_SHARE = 0.5


def check_preparation(
    measures: ImageMeasurements, owners: Sequence[str], groups: NDArray[np.int64], names: Sequence[str]
) -> list[Finding]:
    """Return findings ``colour-order``, ``crop``, ``grey-set`` and ``grey``; ``groups`` (N,) indexes ``owners``."""
    usable = ~are_blank(measures)
    grey = usable & (measures.colour < MAX_GREY_DIFFERENCE)
    colour_order: list[Case] = []
    crop: list[Case] = []
    grey_sets: list[Case] = []
    greys: list[Case] = []
    for number, owner in enumerate(owners):
        here, parts = groups == number, (owner,) if owner else ()
        if (grey == usable)[here].all() and grey[here].any():
            grey_sets.append(Case(parts=parts, value=float(grey[here].sum()), detail=f"{int(grey[here].sum())} images"))
        else:
            greys += [Case((names[index],), parts=parts) for index in np.flatnonzero(here & grey).tolist()]
            colour_order += _blue_faces(measures, here & usable & ~grey, parts, names)
        crop += _crop(measures, number, parts)
    return [
        *make_findings("colour-order", colour_order),
        *make_findings("crop", crop),
        *make_findings("grey", greys),
        *make_findings("grey-set", grey_sets),
    ]


def _blue_faces(
    measures: ImageMeasurements, coloured: NDArray[np.bool_], parts: tuple[str, ...], names: Sequence[str]
) -> list[Case]:
    """Return one case with the share where most faces of a set are blue, else one per blue face if too many."""
    blue = np.flatnonzero(coloured & (measures.redness < MIN_REDNESS)).tolist()
    share = len(blue) / max(1, int(coloured.sum()))
    if len(blue) < MIN_BLUE or share <= MAX_BLUE:
        return []
    if share > MIN_WHOLE_SET_SHARE:
        return [Case(parts=parts, value=round(share, 4), detail=f"{len(blue)} of {int(coloured.sum())} faces")]
    return [Case((names[index],), parts=parts, value=round(-float(measures.redness[index]), 1)) for index in blue]


def _crop(measures: ImageMeasurements, number: int, parts: tuple[str, ...]) -> Iterator[Case]:
    if measures.sizes[number] >= MIN_IMAGES:
        found = locate_mean_face(measures.mean_faces[number])
        if not found.is_aligned:
            yield Case(parts=parts, value=round(found.offset, 1), detail=found.describe())
