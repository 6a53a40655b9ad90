"""Numerical precision of the losses: at least float32, also inside an autocast region."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["at_least_float32", "full_precision"]


def at_least_float32(values: Tensor) -> Tensor:
    """Convert float16 and bfloat16 to float32; return float32 and float64 tensors unchanged.

    In half precision a logit scaled by 30 would be rounded by up to 0.1.
    """
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def full_precision(values: Tensor) -> torch.autocast:
    """Return a context manager that disables autocast on the device of ``values``."""
    return torch.autocast(values.device.type, enabled=False)
