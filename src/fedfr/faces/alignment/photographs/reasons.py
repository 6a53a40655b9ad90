"""Reasons for skipping a photograph."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["OTHER_FILE", "REASONS", "RejectedPhotograph"]

OTHER_FILE = "other-file"

REASONS: Mapping[str, str] = {
    "no-face": "the detector found none",
    "low-score": "the detector was not sure enough",
    "several-faces": "another face is at least a quarter as large",
    "no-landmarks": "the file of landmarks has no line for it",
    "too-small": "the face has too few pixels",
    "too-blurred": "the face is not sharp enough",
    "too-large": "it has too many pixels or bytes to be opened",
    "unreadable": "no image of a supported kind, damaged, cut short or not to be read",
    OTHER_FILE: "no image by its name, or deeper than <identity>/<image>",
}
"""Every reason with its meaning, in the order in which they are counted."""


class RejectedPhotograph(Exception):  # noqa: N818 – no error: what it says of an image goes into a list
    """An image that gives no face; ``detail`` are words for the operator."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
