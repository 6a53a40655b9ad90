"""``Experiment(config, …)`` without a folder, and in a folder that is not empty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.tiny_experiment import bits, tiny_config

from fedfr.core.errors import FedfrError
from fedfr.experiments.experiment import Experiment
from fedfr.federation.method import Method
from fedfr.losses import cosface_logits


class MyMethod(Method):
    """FedAvg under another name."""


def my_loss(features: Any, prototypes: Any, labels: Any) -> torch.Tensor:
    return cosface_logits(features, prototypes, labels)


ONE = ("federation.rounds=1", "pretrain.epochs=0")


def test_the_next_free_folder_is_chosen_and_a_run_is_resumed_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tiny_config(tmp_path, *ONE)
    first, second = Experiment(config, method=MyMethod), Experiment(config, method=MyMethod({}), loss=my_loss)
    assert [str(run.folder) for run in (first, second)] == ["runs/my-method-1", "runs/my-method-2"]
    assert str(Experiment(config).folder) == "runs/fedfr-1"
    assert (second.config.method.name, second.config.local.loss) == (f"{__name__}:MyMethod", f"{__name__}:my_loss")
    rows = second.run(False)
    again = Experiment.open("runs/my-method-2")
    assert again.finished
    assert again.config == second.config
    assert again.run(False) == rows
    Experiment.create(config, "created", method=MyMethod, loss=my_loss).run(False)
    assert bits(Path("created")) == bits(second.folder)


def test_an_invalid_run_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Experiment(tiny_config(tmp_path, "split.settings.clients=99"), method=MyMethod)
    with pytest.raises(FedfrError, match="needs 301 identities"):
        run.run(False)
    assert not any(Path("runs").iterdir())


def test_a_named_folder_is_begun_resumed_and_not_mixed(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, *ONE, "method.name=fedavg")
    rows = Experiment(config, tmp_path / "run").run(False)
    assert Experiment.open(tmp_path / "run").results() == rows
    assert Experiment(config, tmp_path / "run").run(False) == rows
    with pytest.raises(FedfrError, match=r"was begun with seed = 0, not 1; continue it with `fedfr resume"):
        Experiment(tiny_config(tmp_path, *ONE, "method.name=fedavg", "seed=1"), tmp_path / "run").run(False)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").touch()
    with pytest.raises(FedfrError, match="is not an empty folder"):
        Experiment(config, tmp_path / "used").run(False)
