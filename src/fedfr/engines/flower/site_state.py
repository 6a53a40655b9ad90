"""What is known of a site from its coordinator's place: one word, and a sentence with what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "ABSENT",
    "ANSWERED",
    "ASKED",
    "BUSY",
    "LATE",
    "OTHER_AGREEMENT",
    "OTHER_FACES",
    "READY",
    "REFUSED",
    "SILENT",
    "TRAINING",
    "TWICE",
    "UNABLE",
    "Standing",
    "Watch",
    "duration",
]

READY, ABSENT, ASKED, SILENT, BUSY = "ready", "not connected", "asked", "silent", "busy"
OTHER_AGREEMENT, OTHER_FACES = "other agreement", "other public faces"
TWICE, UNABLE = "connected twice", "cannot take part"
TRAINING, ANSWERED, REFUSED, LATE = "training", "answered", "refused", "late"


@dataclass(frozen=True)
class Standing:
    """``state``: one of this module's words; ``reason``: why the site cannot be asked, with what to do, or nothing.

    ``round``: the round that it was given last; 0 before the first.
    """

    state: str
    reason: str = ""
    round: int = 0


Watch = Callable[[str, Standing], None]
"""Told of a client whenever something about its site is found; often the same as before."""


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
