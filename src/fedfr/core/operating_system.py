"""What differs between operating systems: the cores of this process, and what only Linux offers."""

from __future__ import annotations

import os
import sys

from fedfr.core.errors import FedfrError

__all__ = ["require_linux", "usable_cores"]


def usable_cores() -> int:
    """Return the number of cores that this process may use; where the system does not tell, those of the machine."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def require_linux(what: str) -> None:
    """Raise :class:`FedfrError` where ``what`` is asked for on another system than Linux."""
    if sys.platform != "linux":
        raise FedfrError(f"{what} needs Linux, this is {sys.platform}; use a Linux machine or container")
