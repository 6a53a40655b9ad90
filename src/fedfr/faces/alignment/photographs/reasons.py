"""Reasons for skipping a photograph."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["OTHER_FILE", "REASONS", "RejectedPhotograph"]

OTHER_FILE = "other-file"

REASONS: Mapping[str, str] = {
    "no-face": "the detector found no face",
    "low-score": "the score of the detector is too low",
    "several-faces": "another face is at least a quarter as large",
    "no-landmarks": "the landmarks file has no line for it",
    "too-small": "the face has too few pixels",
    "too-blurred": "the face is not sharp enough",
    "too-large": "it has too many pixels or bytes",
    "unreadable": "it is not an image of a supported format, or damaged, truncated or not accessible",
    OTHER_FILE: "not an image by its name, or nested deeper than <identity>/<image>",
}
"""Every reason with its meaning, in the order in which they are counted."""


class RejectedPhotograph(Exception):  # noqa: N818 – not an error: the reason is listed in skipped.csv
    """Raised for a photograph without a usable face, with a key of :data:`REASONS` and an optional explanation."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
