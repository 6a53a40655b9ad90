"""Runs without public faces: without pre-training, and without methods that train on public identities."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.tiny_experiment import tiny_config

from fedfr.core.errors import FedfrError
from fedfr.experiments.experiment import Experiment
from fedfr.models import load_model


def test_a_run_begins_if_nothing_of_it_needs_public_faces(tmp_path: Path) -> None:
    start = Experiment.create(tiny_config(tmp_path, "method.name=fedavg"), tmp_path / "start")
    start.components.starting_model()
    given = start.folder / "pretrained" / "generic.safetensors"
    settings = ("split.settings.public_identities=0", f"model.start={given}", "pretrain.epochs=0", "method.name=fedavg")
    refused = {
        "baselines=[fedfr]": "no public images, which fedfr trains on; give public faces",
        "pretrain.epochs=1": "no public images, which the starting model is trained on; give public faces",
        "model.start=scratch": "no public images, which the starting model is trained on; give public faces",
    }
    for setting, message in refused.items():
        with pytest.raises(FedfrError, match=message):
            Experiment.create(tiny_config(tmp_path, *settings, setting), tmp_path / "run")
    run = Experiment.create(tiny_config(tmp_path, *settings, "baselines=[fedfr-con-dfc]"), tmp_path / "run")
    rows = run.run()
    assert len(run.components.split.public) == 0
    assert {row.method for row in rows if row.value is not None} == {"pretrained", "fedavg", "fedfr-con-dfc"}
    assert load_model(given)[0].keys() == load_model(run.folder / "generic.safetensors")[0].keys()
