"""Errors of damaged ``.zip`` and ``.npz`` files."""

from __future__ import annotations

import lzma
import struct
import zlib
from zipfile import BadZipFile

__all__ = ["DAMAGED_ARCHIVE"]

DAMAGED_ARCHIVE = (
    BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    OSError,
    EOFError,
    # An encrypted member; as NotImplementedError, an unknown compression.
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    MemoryError,
)
"""What :mod:`zipfile` and :func:`numpy.load` raise for a damaged archive, and what its content then leads to."""
