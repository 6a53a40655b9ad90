"""Memory of this process: reuse of freed blocks, and peak usage."""

from __future__ import annotations

import ctypes
import resource
import sys
from functools import cache
from pathlib import Path

__all__ = ["keep_freed_memory", "peak_memory"]

# malloc.h: parameters of mallopt(3).
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_MOST_KEPT = 2**31 - 1


@cache
def keep_freed_memory() -> bool:
    """Let glibc reuse freed blocks of any size; takes effect once per process. Returns False without glibc.

    By default glibc returns blocks above 32 MiB to the system at once, so every tensor of a large batch needs new,
    zeroed pages; for MobileFaceNet this takes longer than the arithmetic. Up to 2 GiB of freed memory are kept.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _MOST_KEPT))


def peak_memory() -> float:
    """Return the largest resident size of this process so far, in bytes.

    Reads /proc if available: the value of getrusage includes the process that a worker was forked from.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return 1024.0 * int(status.read_text(encoding="ascii").partition("VmHWM:")[2].split()[0])
    # In bytes on macOS, in KiB elsewhere.
    unit = 1.0 if sys.platform == "darwin" else 1024.0
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
