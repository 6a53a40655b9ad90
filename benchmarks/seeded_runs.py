"""Runs of a preset over seeds: begun beside an equal one, and the interval of values over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from scipy.stats import t as student

from fedfr.config.schema import load_config
from fedfr.experiments.experiment import Experiment

__all__ = ["begun", "interval", "seeded"]


def begun(preset: str, folder: Path, settings: Sequence[str], beside: Path | None = None) -> Experiment:
    """Begin or open a run; an equal starting model of the run ``beside`` is reused."""
    if not (folder / "config.yaml").exists():
        Experiment.create(load_config(preset, settings), folder)
        if beside is not None:
            Experiment.open(folder).reuse_start(beside)
    return Experiment.open(folder)


def seeded(seed: int, threads: int) -> list[str]:
    """Return the settings of a seed: its own split, pre-training and rounds."""
    return [f"seed={seed}", f"split.settings.seed={seed}", f"runtime.threads={threads}"]


def interval(differences: list[float]) -> tuple[float, float, float]:
    """Return the mean and the ends of Student's 95 % interval; at least two values."""
    mean = fmean(differences)
    half = float(student.ppf(0.975, len(differences) - 1)) * stdev(differences) / len(differences) ** 0.5
    return mean, mean - half, mean + half
