"""Features checked and scaled to unit length for comparison by the cosine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedfr.core.errors import FedfrError
from fedfr.evaluation.array_inputs import as_features

__all__ = ["normalize"]

# Few enough that their float64 numbers stay in the processor's cache.
ROWS = 256
# Squares of smaller float64 numbers lose digits or vanish.
SMALLEST_LENGTH = 1e-150


def normalize(features: ArrayLike, what: str = "features") -> NDArray[np.float32]:
    """Return the rows of (N, D) divided by their length, as float32; a zero row stays zero and scores 0.

    Raises :class:`FedfrError` naming the first row that holds NaN or infinity, and when ``features`` is not a matrix of
    real numbers.
    """
    given = as_features(features, what)
    result = np.empty(given.shape, np.float32)
    for start in range(0, len(given), ROWS):
        # float64: the length of a row of large float32 numbers may not be a float32.
        rows = given[start : start + ROWS].astype(np.float64)
        lengths = _lengths(rows)
        extreme = ~((lengths > SMALLEST_LENGTH) & np.isfinite(lengths))[:, 0]
        if extreme.any():
            finite = np.isfinite(rows).all(axis=1)
            if not finite.all():
                row = start + int(np.argmin(finite))
                raise FedfrError(
                    f"{what} row {row} holds NaN or infinity; the model that made it diverged or is damaged"
                )
            largest = np.abs(rows[extreme]).max(axis=1, keepdims=True)
            rows[extreme] /= np.where(largest > 0, largest, 1)
            lengths = _lengths(rows)
        result[start : start + ROWS] = rows / np.where(lengths > 0, lengths, 1)
    return result


def _lengths(rows: NDArray[np.float64]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        lengths: NDArray[Any] = np.linalg.norm(rows, axis=1, keepdims=True)
    return lengths
