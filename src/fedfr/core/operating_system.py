"""Differences between operating systems: usable cores, and functions that need Linux."""

from __future__ import annotations

import os
import platform
import sys
from hashlib import sha256
from pathlib import Path

from fedfr.core.errors import FedfrError

__all__ = ["machine", "require_linux", "usable_cores"]


def usable_cores() -> int:
    """Return the number of cores that this process may use; if unknown, those of the machine."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def machine() -> str:
    """Return the processor, the number of its cores and, on Linux, a short name of the time since the machine started.

    Processes of one machine have the same description until it is restarted, also in containers.
    """
    model = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "").partition(":")[2]
    start = "".join(_lines("/proc/sys/kernel/random/boot_id")).strip()
    boot = f", started as {sha256(start.encode()).hexdigest()[:6]}" if start else ""
    return f"{model.strip() or platform.machine()}, {os.cpu_count()} cores{boot}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def require_linux(what: str) -> None:
    """Raise :class:`FedfrError`, naming ``what``, on systems other than Linux."""
    if sys.platform != "linux":
        raise FedfrError(f"{what} needs Linux, and this is {sys.platform}; use a Linux machine or container")
