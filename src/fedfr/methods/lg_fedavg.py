"""LG-FedAvg: each client its own body, and last layers in common (Liang et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch

from fedfr.federation.method import MethodSettings
from fedfr.methods.partial import PartialSettings, PartialSharing

__all__ = ["LGFedAvg"]


class LGFedAvg(PartialSharing):
    """Only the last layers are averaged (arXiv 2001.01523): the other direction of FedPer, and the least traffic."""

    settings_type: ClassVar[type[MethodSettings]] = PartialSettings

    def shares(self, entries: Mapping[str, torch.Tensor]) -> frozenset[str]:
        """The last layers."""
        return self.last(entries)
