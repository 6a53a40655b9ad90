"""LG-FedAvg: body local to each client, shared last layers (Liang et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch

from fedfr.federation.method import MethodSettings
from fedfr.methods.partial import PartialSettings, PartialSharing

__all__ = ["LGFedAvg"]


class LGFedAvg(PartialSharing):
    """Averages only the last layers (arXiv 2001.01523), the opposite of FedPer, with the least traffic."""

    settings_type: ClassVar[type[MethodSettings]] = PartialSettings

    def shares(self, entries: Mapping[str, torch.Tensor]) -> frozenset[str]:
        """Return the entries of the last layers."""
        return self.last(entries)
