"""Memory-mapped NumPy files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["map_array"]


def map_array(path: Path, mode: Literal["r", "c"] = "r") -> NDArray[Any]:
    """Memory-map the array in a ``.npy`` file: read-only (``r``) or copy-on-write, never writing to the file (``c``).

    Raises ``OSError`` if the file cannot be read, and ``ValueError`` (no other exception) if it is damaged or does not
    contain numbers. Pickled objects are not loaded, so no code in the file is run.
    """
    try:
        return np.lib.format.open_memmap(path, mode=mode)
    except (OSError, ValueError):
        raise
    except Exception as error:  # NumPy evaluates the header as a Python literal, which can fail in many ways.
        raise ValueError(f"its header is damaged: {type(error).__name__}") from error
