"""Experiments and weights that several targets write."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.support.tiny_experiment import tiny_config

from fedfr.experiments.experiment import Experiment

__all__ = ["WEIGHTS", "experiment"]

WEIGHTS = {"w": torch.ones(3, 2), "n": torch.tensor(4)}


def experiment(folder: Path, *settings: str) -> Experiment:
    return Experiment.create(tiny_config(folder, "pretrain.epochs=0", "method.name=fedavg", *settings), folder / "run")
