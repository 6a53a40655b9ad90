"""Features made ready for comparison: checked and brought to length one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError

__all__ = ["check_labels", "normalize"]

ROWS = 4096


def normalize(features: NDArray[np.floating[Any]], what: str = "features") -> NDArray[np.float32]:
    """Rows of (N, D) divided by their length, float32; a row of zeros stays zero and scores 0 against everything.

    Raises :class:`FedfrError` naming the first row that holds NaN or infinity, and when ``features`` is not a matrix.
    """
    if features.ndim != 2:
        raise FedfrError(f"{what} have shape {features.shape}; give one row per image: (images, dimensions)")
    result = np.empty(features.shape, np.float32)
    for start in range(0, len(features), ROWS):
        # float64: the length of a row of large float32 numbers may not be a float32.
        rows = features[start : start + ROWS].astype(np.float64)
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise FedfrError(f"{what} row {row} holds NaN or infinity; the model that made it diverged or is damaged")
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        result[start : start + ROWS] = rows / np.where(lengths > 0, lengths, 1)
    return result


def check_labels(labels: NDArray[Any], count: int, what: str = "labels") -> NDArray[np.int64]:
    """Labels as int64 (N,); raises :class:`FedfrError` unless there is one whole number per feature."""
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        found = f"{labels.dtype} of shape {labels.shape}"
        raise FedfrError(f"{what} are {found}; give one integer for each of the {count} features")
    return labels.astype(np.int64)
