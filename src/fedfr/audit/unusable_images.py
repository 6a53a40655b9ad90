"""Detection of images that are unusable for training: blank or blurred."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedfr.audit.findings import Case, Finding, make_findings
from fedfr.audit.measures import ImageMeasurements

__all__ = ["are_blank", "check_unusable_images"]

MIN_CONTRAST = 8.0
"""Least standard deviation of the luminance, in grey levels; the minimum over LFW is 18."""

MIN_BRIGHTNESS, MAX_BRIGHTNESS = 15.0, 245.0
"""Allowed mean luminance, in grey levels; 44 to 198 on LFW."""

MIN_SHARPNESS = 3.5
"""Least standard deviation of the Laplacian over the face, in grey levels; the minimum over LFW is 3.54."""


def are_blank(measures: ImageMeasurements) -> NDArray[np.bool_]:
    """Return the mask (N,) of images with almost no content."""
    dark, light = measures.brightness < MIN_BRIGHTNESS, measures.brightness > MAX_BRIGHTNESS
    return dark | light | (measures.contrast < MIN_CONTRAST)


def check_unusable_images(measures: ImageMeasurements, names: Sequence[str]) -> list[Finding]:
    """Return findings ``blank`` and ``blurred``; values are contrast and sharpness, lowest first."""
    blank = are_blank(measures)
    blurred = ~blank & (measures.sharpness < MIN_SHARPNESS)
    return [
        found
        for kind, chosen, values in (
            ("blank", blank, measures.contrast),
            ("blurred", blurred, measures.sharpness),
        )
        for found in make_findings(
            kind,
            [Case((names[index],), value=round(float(values[index]), 2)) for index in np.flatnonzero(chosen).tolist()],
            largest_first=False,
        )
    ]
