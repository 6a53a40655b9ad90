"""Losses are computed in at least single precision, also inside an autocast region."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["at_least_single", "full_precision"]


def at_least_single(values: Tensor) -> Tensor:
    """``values`` in float32, or float64 where they already are; half precision loses 0.1 of a scaled logit."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def full_precision(values: Tensor) -> torch.autocast:
    """A region on the device of ``values`` in which matrix products are not cast down."""
    return torch.autocast(values.device.type, enabled=False)
