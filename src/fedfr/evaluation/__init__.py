"""Evaluation: exact, blockwise, with the counts behind every figure."""

from __future__ import annotations

from fedfr.evaluation.figures import MINIMUM_IMPOSTORS, Figure, rate_label
from fedfr.evaluation.identification import gallery_templates, open_set_identification
from fedfr.evaluation.protocols import PROTOCOLS, Protocol, ProtocolInput
from fedfr.evaluation.verification import kfold_accuracy, personalized_verification, tar_at_far

__all__ = [
    "MINIMUM_IMPOSTORS",
    "PROTOCOLS",
    "Figure",
    "Protocol",
    "ProtocolInput",
    "gallery_templates",
    "kfold_accuracy",
    "open_set_identification",
    "personalized_verification",
    "rate_label",
    "tar_at_far",
]
