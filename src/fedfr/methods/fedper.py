"""FedPer: a common body, and last layers that each client keeps for itself (Arivazhagan et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch

from fedfr.federation.method import MethodSettings
from fedfr.methods.partial import PartialSettings, PartialSharing

__all__ = ["FedPer"]


class FedPer(PartialSharing):
    """Everything but the last layers is averaged (arXiv 1912.00818)."""

    settings_type: ClassVar[type[MethodSettings]] = PartialSettings

    def shares(self, entries: Mapping[str, torch.Tensor]) -> frozenset[str]:
        """The body."""
        return frozenset(entries) - self.last(entries)
