"""NumPy's files, whatever stands in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["map_array"]


def map_array(path: Path, mode: Literal["r", "c"] = "r") -> NDArray[Any]:
    """The array in a ``.npy`` file, memory-mapped: read-only, or ``c``: what is written to it goes nowhere.

    Raises ``OSError`` where the file cannot be read, and ``ValueError``, and nothing else, where it is damaged or holds
    no numbers. No code in it is run.
    """
    try:
        return np.lib.format.open_memmap(path, mode=mode)
    except (OSError, ValueError):
        raise
    except Exception as error:  # NumPy reads the header as Python's source, with whatever that may lead to.
        raise ValueError(f"its header is damaged: {type(error).__name__}") from error
