"""What a protocol is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["ProtocolInput"]


@dataclass(frozen=True)
class ProtocolInput:
    """Features (N, D) and identities (N,) of the images compared, and the error rates to report at.

    For personalised protocols ``own`` (N,) marks the client's test images and ``gallery_*`` are its training images.
    ``binned`` asks for the released code's histogram instead of exact thresholds.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    fars: Sequence[float]
    fpirs: Sequence[float]
    own: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    gallery_features: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    gallery_labels: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    binned: bool = False
