"""How whole sets were prepared: order of colours, crop, grey – judged for each owner, who may prepare faces alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fedfr.audit.crops import LEAST_IMAGES, locate
from fedfr.audit.findings import Case, Finding, finding
from fedfr.audit.measures import Measures
from fedfr.audit.unusable_images import are_blank

__all__ = ["GREY", "MOST_BLUE", "check_preparation"]

GREY = 1.0
"""Mean difference of red and blue, in grey levels, below which an image has no colours."""

BLUE = -5.0
"""Redness of the skin, in grey levels, below which a face is bluer than red: skin of every tone is redder than blue."""

MOST_BLUE = 0.02
"""Share of such faces that a set may have, by coloured light; 0.0002 on LFW."""

LEAST_BLUE = 3
# From this share on the whole set is meant, below it the images are named.
WHOLE = 0.5


def check_preparation(
    measures: Measures, owners: Sequence[str], groups: NDArray[np.int64], names: Sequence[str]
) -> list[Finding]:
    """Findings ``colour-order``, ``crop``, ``grey-set`` and ``grey``; ``groups`` (N,) indexes ``owners``."""
    usable = ~are_blank(measures)
    grey = usable & (measures.colour < GREY)
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
        *finding("colour-order", colour_order),
        *finding("crop", crop),
        *finding("grey", greys),
        *finding("grey-set", grey_sets),
    ]


def _blue_faces(
    measures: Measures, coloured: NDArray[np.bool_], parts: tuple[str, ...], names: Sequence[str]
) -> list[Case]:
    """One case for a set that is blue for the most part, with its share; else one for each blue face, if too many."""
    blue = np.flatnonzero(coloured & (measures.redness < BLUE)).tolist()
    share = len(blue) / max(1, int(coloured.sum()))
    if len(blue) < LEAST_BLUE or share <= MOST_BLUE:
        return []
    if share > WHOLE:
        return [Case(parts=parts, value=round(share, 4), detail=f"{len(blue)} of {int(coloured.sum())} faces")]
    return [Case((names[index],), parts=parts, value=round(-float(measures.redness[index]), 1)) for index in blue]


def _crop(measures: Measures, number: int, parts: tuple[str, ...]) -> Iterator[Case]:
    if measures.sizes[number] >= LEAST_IMAGES:
        found = locate(measures.mean_faces[number])
        if not found.is_aligned:
            yield Case(parts=parts, value=round(found.offset, 1), detail=found.describe())
