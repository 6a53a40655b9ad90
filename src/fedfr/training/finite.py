"""Whether tensors hold nothing but numbers: what is checked before it is kept or sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

__all__ = ["first_not_finite", "is_finite"]


def is_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether no floating-point value is NaN or infinite; a device is waited for once, not for every tensor."""
    # Both ends of a tensor are NaN when any value is: one pass, and no temporary of the tensor's size.
    ends = [end for value in tensors if value.is_floating_point() and value.numel() for end in torch.aminmax(value)]
    return not ends or bool(torch.stack([end.isfinite() for end in ends]).all())


def first_not_finite(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """The name of the first tensor that :func:`is_finite` denies, None where all are finite."""
    if is_finite(tensors.values()):
        return None
    return next(name for name, value in tensors.items() if not is_finite([value]))
