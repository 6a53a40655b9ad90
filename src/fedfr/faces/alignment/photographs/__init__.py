"""Alignment of photographs: landmarks, reasons for rejection, and the state of an unfinished import."""

from __future__ import annotations

from fedfr.faces.alignment.photographs.aligners import ALIGNERS, Aligner, AlignerFiles, make_aligner, refuse_options
from fedfr.faces.alignment.photographs.outcome import Limits, Outcome, align_photograph
from fedfr.faces.alignment.photographs.reasons import REASONS

__all__ = [
    "ALIGNERS",
    "REASONS",
    "Aligner",
    "AlignerFiles",
    "Limits",
    "Outcome",
    "align_photograph",
    "make_aligner",
    "refuse_options",
]


def __dir__() -> list[str]:
    return sorted(__all__)
