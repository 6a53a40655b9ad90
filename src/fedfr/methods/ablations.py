"""Ablations of FedFR (Liu et al. 2022, table 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from fedfr.methods.fedfr import FedFR

__all__ = ["HardNegatives", "HardNegativesContrastive", "WithoutContrastive", "WithoutHardNegatives"]


_PARTS = ("hard_negatives", "contrastive", "dfc")


class _Ablation(FedFR):
    """FedFR without the parts named in ``without``; overrides ``enabled`` in the settings."""

    without: ClassVar[tuple[str, ...]]

    def __init__(self, settings: Mapping[str, Any], where: str = "method") -> None:
        parts = {part: {**settings.get(part, {}), "enabled": part not in self.without} for part in _PARTS}
        super().__init__({**settings, **parts}, where)


class HardNegatives(_Ablation):
    """FedAvg with hard negatives (second row of the table)."""

    without = ("contrastive", "dfc")


class HardNegativesContrastive(_Ablation):
    """FedAvg with hard negatives and the contrastive term (third row of the table)."""

    without = ("dfc",)


class WithoutContrastive(_Ablation):
    """FedFR without the contrastive term."""

    without = ("contrastive",)


class WithoutHardNegatives(_Ablation):
    """FedFR without hard negatives, which needs no public set."""

    without = ("hard_negatives",)
