"""Single images that no face can be learnt from: blank or blurred."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedfr.audit.findings import Case, Finding, make_findings
from fedfr.audit.measures import Measures

__all__ = ["are_blank", "check_unusable_images"]

MIN_CONTRAST = 8.0
"""Deviation of the luminance, in grey levels; the least of LFW is 18."""

MIN_BRIGHTNESS, MAX_BRIGHTNESS = 15.0, 245.0
"""Mean luminance; 44 to 198 on LFW."""

MIN_SHARPNESS = 3.5
"""Deviation of the Laplacian over the face, in grey levels; the least of LFW is 3.54."""


def are_blank(measures: Measures) -> NDArray[np.bool_]:
    """Which images (N,) show next to nothing."""
    dark, light = measures.brightness < MIN_BRIGHTNESS, measures.brightness > MAX_BRIGHTNESS
    return dark | light | (measures.contrast < MIN_CONTRAST)


def check_unusable_images(measures: Measures, names: Sequence[str]) -> list[Finding]:
    """Findings ``blank`` and ``blurred``; values are contrast and sharpness, the lowest first."""
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
