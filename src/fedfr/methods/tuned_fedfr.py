"""Personalization of FedFR without DFC by fine-tuning, with or without distillation (Liu et al. 2022, table 2)."""

from __future__ import annotations

from typing import ClassVar

from fedfr.federation.method import MethodSettings
from fedfr.methods.ablations import HardNegativesContrastive
from fedfr.methods.distill import Distill, DistillSettings
from fedfr.methods.fedfr import FedFRSettings
from fedfr.methods.finetune import FineTune, FineTuneSettings

__all__ = ["DistillFedFR", "DistillFedFRSettings", "FineTuneFedFR", "FineTuneFedFRSettings"]


class FineTuneFedFRSettings(FineTuneSettings, FedFRSettings):
    """Settings of FedFR and of fine-tuning."""


class FineTuneFedFR(FineTune, HardNegativesContrastive):
    """FedFR without DFC, then fine-tuning on the private faces; the generic model is that of FedFR without DFC."""

    settings_type: ClassVar[type[MethodSettings]] = FineTuneFedFRSettings
    settings: FineTuneFedFRSettings


class DistillFedFRSettings(DistillSettings, FedFRSettings):
    """Settings of FedFR and of fine-tuning with distillation."""


class DistillFedFR(Distill, HardNegativesContrastive):
    """FedFR without DFC, then fine-tuning with distillation; the generic model is that of FedFR without DFC."""

    settings_type: ClassVar[type[MethodSettings]] = DistillFedFRSettings
    settings: DistillFedFRSettings
