"""How this process keeps memory that training frees and asks for again a moment later."""

from __future__ import annotations

import ctypes
from functools import cache

__all__ = ["keep_freed_memory"]

# malloc.h: parameters of mallopt(3).
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_MOST_KEPT = 2**31 - 1


@cache
def keep_freed_memory() -> bool:
    """Let the C library reuse freed blocks of any size, once per process; False where it is not glibc.

    By default glibc gives blocks above 32 MiB back to the system at once, and every tensor of a large batch costs
    fresh, zeroed pages: on MobileFaceNet's maps that takes longer than the arithmetic. Up to 2 GiB now stay here.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _MOST_KEPT))
