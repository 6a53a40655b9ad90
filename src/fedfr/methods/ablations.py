"""FedFR with some of its parts only: the rows of the paper's ablation (Liu et al. 2022, table 1), by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from fedfr.methods.fedfr import FedFR

__all__ = ["HardNegatives", "HardNegativesContrastive", "WithoutContrastive", "WithoutHardNegatives"]


_PARTS = ("hard_negatives", "contrastive", "dfc")


class _Ablation(FedFR):
    """All parts but those named in ``without``, whatever the settings say of ``enabled``: the name says it."""

    without: ClassVar[tuple[str, ...]]

    def __init__(self, settings: Mapping[str, Any], where: str = "method") -> None:
        parts = {part: {**settings.get(part, {}), "enabled": part not in self.without} for part in _PARTS}
        super().__init__({**settings, **parts}, where)


class HardNegatives(_Ablation):
    """FedAvg with hard negatives: the table's second row."""

    without = ("contrastive", "dfc")


class HardNegativesContrastive(_Ablation):
    """Hard negatives and the contrastive term, no DFC: the table's third row."""

    without = ("dfc",)


class WithoutContrastive(_Ablation):
    """Hard negatives and DFC."""

    without = ("contrastive",)


class WithoutHardNegatives(_Ablation):
    """Contrastive term and DFC on the private faces alone: what a site can have without the public set."""

    without = ("hard_negatives",)
