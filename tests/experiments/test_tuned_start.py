"""A published network tuned on the public images before the first round."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from tests.support.tiny_experiment import tiny_config

from fedfr.experiments.components import RunComponents
from fedfr.experiments.experiment import Experiment
from fedfr.federation.method import GenericModel
from fedfr.training.batchnorm import batchnorm_entries

TUNED = ["pretrain.prototypes=mean", "pretrain.batchnorm=frozen", "pretrain.epochs=2", "pretrain.warmup_epochs=0"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with faces and a network of other faces."""
    folder = tmp_path_factory.mktemp("tuned")
    Experiment.create(tiny_config(folder, "split.settings.seed=3"), folder / "other").pretrain(progress=False)
    return folder


def run(place: Path, folder: Path, *settings: str) -> RunComponents:
    start = f"model.start={place / 'other' / 'pretrained' / 'generic.safetensors'}"
    return Experiment.create(tiny_config(place, start, *settings), folder).components


def test_tuning_begins_with_the_mean_features(place: Path, tmp_path: Path) -> None:
    published = run(place, tmp_path / "published", "pretrain.epochs=0").starting_model()
    barely = run(place, tmp_path / "barely", *TUNED, "pretrain.learning_rate=1e-12").starting_model()
    assert torch.allclose(published.prototypes, barely.prototypes, rtol=1e-5)
    at_random = run(place, tmp_path / "random", *TUNED[1:], "pretrain.learning_rate=1e-12").starting_model()
    assert at_random.prototypes.norm(dim=1).max() < 1 < published.prototypes.norm(dim=1).min()
    for name in published.weights:
        assert torch.allclose(published.weights[name], barely.weights[name], rtol=1e-5), name


def test_frozen_batchnorm_is_that_of_the_checkpoint(place: Path, tmp_path: Path) -> None:
    published = run(place, tmp_path / "published", "pretrain.epochs=0")
    frozen = batchnorm_entries(published.new_backbone())
    start, tuned = published.starting_model(), run(place, tmp_path / "tuned", *TUNED).starting_model()
    changed = {name for name, value in start.weights.items() if not torch.equal(value, tuned.weights[name])}
    assert frozen
    assert changed == set(start.weights) - frozen


def test_an_interrupted_tuning_is_resumed_to_the_bit(place: Path, tmp_path: Path) -> None:
    def stop(epoch: int, losses: Mapping[str, float], rate: float) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    def everything(start: GenericModel) -> dict[str, torch.Tensor]:
        return {**start.weights, "prototypes": start.prototypes}

    whole = everything(run(place, tmp_path / "whole", *TUNED).starting_model())
    with pytest.raises(KeyboardInterrupt):
        run(place, tmp_path / "stopped", *TUNED).starting_model(on_epoch=stop)
    assert (tmp_path / "stopped" / "pretrained" / "state.safetensors").exists()
    found = everything(Experiment.open(tmp_path / "stopped").components.starting_model())
    assert [name for name, value in whole.items() if not torch.equal(found[name], value)] == []
