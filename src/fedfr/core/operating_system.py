"""Differences between operating systems: usable cores, and functions that need Linux."""

from __future__ import annotations

import os
import sys

from fedfr.core.errors import FedfrError

__all__ = ["require_linux", "usable_cores"]


def usable_cores() -> int:
    """Return the number of cores that this process may use; if unknown, those of the machine."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def require_linux(what: str) -> None:
    """Raise :class:`FedfrError`, naming ``what``, on systems other than Linux."""
    if sys.platform != "linux":
        raise FedfrError(f"{what} needs Linux, and this is {sys.platform}; use a Linux machine or container")
