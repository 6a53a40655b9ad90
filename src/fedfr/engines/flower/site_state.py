"""Status of a site as the coordinator sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "ABSENT",
    "ANSWERED",
    "ASKED",
    "BUSY",
    "DUPLICATE",
    "LATE",
    "OTHER_AGREEMENT",
    "OTHER_FACES",
    "READY",
    "REFUSED",
    "SILENT",
    "TRAINING",
    "UNABLE",
    "SiteStatus",
    "StatusCallback",
    "duration",
]

READY, ABSENT, ASKED, SILENT, BUSY = "ready", "not connected", "asked", "silent", "busy"
OTHER_AGREEMENT, OTHER_FACES = "other agreement", "other public faces"
DUPLICATE, UNABLE = "connected twice", "cannot take part"
TRAINING, ANSWERED, REFUSED, LATE = "training", "answered", "refused", "late"


@dataclass(frozen=True)
class SiteStatus:
    """Status of one site.

    ``state``: one of this module's constants; ``reason``: why the site cannot take part and what to do, or empty;
    ``round``: the round last sent to it, 0 before the first.
    """

    state: str
    reason: str = ""
    round: int = 0


StatusCallback = Callable[[str, SiteStatus], None]
"""Receives a client's status whenever it is determined, changed or not."""


def duration(seconds: float) -> str:
    """Format a duration, such as ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
