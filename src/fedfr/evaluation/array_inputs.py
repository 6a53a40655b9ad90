"""Checked conversion of what callers give: arrays, lists and torch tensors become NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError

__all__ = ["as_array", "as_features", "as_flags", "as_labels", "as_rates", "as_scores"]


def as_array(values: Any, what: str) -> NDArray[Any]:
    """Return an array, a (nested) list or a torch tensor as a NumPy array; ``what`` names it in errors.

    Raises :class:`FedfrError` for anything else, a list whose rows differ in length among them.
    """
    try:
        # A torch tensor, recognized without importing torch; NumPy has no bfloat16.
        if hasattr(values, "detach"):
            values = values.detach().cpu()
            values = values.float() if str(values.dtype) == "torch.bfloat16" else values
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FedfrError(f"{what} cannot be read as an array ({reason}); give a NumPy array") from error


def as_features(features: Any, what: str = "features") -> NDArray[Any]:
    """Return features as an array (N, D) of real numbers; raises :class:`FedfrError` for any other shape or type."""
    array = as_array(features, what)
    if array.ndim != 2 or array.shape[1] == 0:
        raise FedfrError(f"{what} have shape {array.shape}; give one row per image: (images, dimensions)")
    return _real(array, what)


def as_scores(scores: Any, what: str) -> NDArray[Any]:
    """Return scores of any shape as real numbers; raises :class:`FedfrError` naming the first NaN."""
    array = _real(as_array(scores, f"{what} scores"), f"{what} scores")
    if np.isnan(array).any():
        raise FedfrError(f"{what} score {int(np.argmax(np.isnan(array)))} is NaN; every pair needs a score")
    return array


def as_labels(labels: Any, count: int, what: str = "labels") -> NDArray[np.int64]:
    """Return labels as int64 (N,); raises :class:`FedfrError` unless there is one integer per feature."""
    array = as_array(labels, what)
    # An empty list has no type of its own.
    if array.shape != (count,) or (array.dtype.kind not in "iu" and count):
        description = f"{array.dtype} of shape {array.shape}"
        raise FedfrError(f"{what} are {description}; give one integer for each of the {count} features")
    return array.astype(np.int64)


def as_flags(flags: Any, count: int, what: str) -> NDArray[np.bool_]:
    """Return flags as bool (N,); raises :class:`FedfrError` unless there is one bool for each of ``count``."""
    array = as_array(flags, what)
    if array.shape != (count,) or (array.dtype.kind != "b" and count):
        raise FedfrError(f"{what} is {array.dtype} of shape {array.shape}; give {count} bools, shape ({count},)")
    return array.astype(np.bool_)


def as_rates(rates: Any, what: str) -> list[float]:
    """Return error rates as floats; raises :class:`FedfrError` unless each lies strictly between 0 and 1."""
    array = as_array(rates, what)
    if array.ndim != 1 or (array.dtype.kind not in "fiu" and array.size):
        raise FedfrError(f"{what} is {rates!r}; give a list of rates between 0 and 1, such as [1e-2, 1e-3]")
    # Through the shortest text: a float32 of 0.001 means 0.001, not the nearest float64 to its bits.
    values = [float(str(value)) for value in array]
    for value in values:
        if not 0 < value < 1:
            raise FedfrError(f"found an error rate of {value:g}; rates lie strictly between 0 and 1, for instance 1e-4")
    return values


def _real(array: NDArray[Any], what: str) -> NDArray[Any]:
    if array.dtype.kind not in "fiu" and array.size:
        raise FedfrError(f"{what} are of type {array.dtype}; give real numbers")
    return array
