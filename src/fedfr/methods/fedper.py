"""FedPer: shared body, last layers local to each client (Arivazhagan et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch

from fedfr.federation.method import MethodSettings
from fedfr.methods.partial import PartialSettings, PartialSharing

__all__ = ["FedPer"]


class FedPer(PartialSharing):
    """Averages all but the last layers (arXiv 1912.00818)."""

    settings_type: ClassVar[type[MethodSettings]] = PartialSettings

    def shares(self, entries: Mapping[str, torch.Tensor]) -> frozenset[str]:
        """Return the entries of the body."""
        return frozenset(entries) - self.last(entries)
