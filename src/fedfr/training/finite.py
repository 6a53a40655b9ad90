"""Checks of tensors for NaN and infinity, made before they are stored or sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

__all__ = ["first_not_finite", "is_finite"]


def is_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Return whether all floating-point values are finite; synchronizes with the device once for all tensors."""
    # Minimum and maximum are NaN if any value is: one pass, without a temporary tensor of the same size.
    ends = [end for value in tensors if value.is_floating_point() and value.numel() for end in torch.aminmax(value)]
    return not ends or bool(torch.stack([end.isfinite() for end in ends]).all())


def first_not_finite(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """Return the name of the first tensor with a NaN or infinite value, None if there is none."""
    if is_finite(tensors.values()):
        return None
    return next(name for name, value in tensors.items() if not is_finite([value]))
