"""A loss of another package in the place of L_cos, without a method class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.tiny_experiment import bits, tiny_config
from torch.nn import functional

import fedfr
from fedfr.core.errors import FedfrError
from fedfr.experiments.experiment import Experiment
from fedfr.federation.method import Method, RoundContext
from fedfr.losses import LOSSES, cosface_logits
from fedfr.training.objective import Batch, MarginSoftmax, Network, Objective


def own_logits(features: Any, prototypes: Any, labels: Any, scale: float, margin: float, power: int = 1) -> Any:
    return cosface_logits(features, prototypes, labels, scale, margin)


def own_scalar(prototypes: Any, labels: Any, features: Any) -> Any:
    return functional.cross_entropy(cosface_logits(features, prototypes, labels), labels)


def own_objective(batch: Batch, network: Network) -> torch.Tensor:
    total, _ = Objective([MarginSoftmax()])(batch, network)
    return total


def squared(features: torch.Tensor) -> torch.Tensor:
    return features.square().mean()


def per_image(features: torch.Tensor) -> torch.Tensor:
    return features.square().mean(dim=1)


def detached(features: torch.Tensor) -> torch.Tensor:
    return features.detach().mean()


def nothing(features: torch.Tensor) -> None:
    return None


def failing(features: torch.Tensor) -> torch.Tensor:
    raise KeyError("absent")


def strange(images: torch.Tensor) -> torch.Tensor:
    return images.mean()


class Fixed(Method):
    """A method with its own loss."""

    def objective(self, context: RoundContext) -> Objective:
        return Objective([MarginSoftmax()])


class Demanding(Method):
    """A method whose objective cannot be made without a private state."""

    def objective(self, context: RoundContext) -> Objective:
        assert context.state is not None
        return super().objective(context)


def made(folder: Path, *settings: str) -> Experiment:
    return Experiment.create(tiny_config(folder, "federation.rounds=1", *settings), folder / "run")


@pytest.mark.parametrize(("weighted", "names"), [("true", ["own_logits"]), ("false", ["own_scalar", "own_objective"])])
def test_the_same_loss_gives_the_same_bits(tmp_path: Path, weighted: str, names: list[str]) -> None:
    """In pre-training, in every term of FedFR with repeated logits, and in distillation."""
    found = {}
    for loss in ("cosface", *(f"{__name__}:{name}" for name in names)):
        place = tmp_path / loss.rpartition(":")[2]
        place.mkdir()
        settings = (f"local.loss={loss}", f"pretrain.loss={loss}", f"method.reweight_negatives={weighted}")
        run = made(place, *settings, "baselines=[distill,ditto]")
        run.run(False)
        found[loss] = bits(run.folder)
    assert [loss for loss, value in found.items() if value != found["cosface"]] == []
    assert len(found["cosface"]) > 100


def test_a_loss_changes_the_result_of_the_method_that_chooses_it(tmp_path: Path) -> None:
    run = made(tmp_path, "method.name=fedavg", "baselines=[local]", f"method.local.loss={__name__}:squared")
    run.run(False)
    found = []
    for place in (".", "baselines/local"):
        lines = (run.folder / place / "metrics.jsonl").read_text("utf-8").splitlines()
        found += [{name for name in line if name.startswith("loss/")} for line in map(json.loads, lines)][-2:]
    assert found == [{"loss/classification", "loss/total"}, set(), {"loss/margin_softmax", "loss/total"}, set()]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["local.loss=cosfac"], "unknown loss 'cosfac'; did you mean 'cosface'?"),
        (["pretrain.loss=cosfac"], "unknown loss 'cosfac'; did you mean 'cosface'?"),
        (["local.loss={0}:strange"], "is a function; give a function of some of features, prototypes, labels, scale"),
        (["local.loss={0}:Fixed"], "is the class Fixed; give a function of some of features"),
        (["method.local.loss={0}:per_image"], "returned shape (4,) for 4 images and 4 prototypes; return the loss"),
        (["pretrain.loss={0}:nothing"], "returned a NoneType for 4 images"),
        (["local.loss={0}:detached"], "returned a tensor without a gradient; compute it from the features"),
        (["local.loss={0}:failing"], "failed on an example batch (KeyError: 'absent'); correct it"),
        (["local.loss={0}:squared", "method.reweight_negatives=true"], "a setting of the method repeats its logits"),
        (["baselines=[local]", "baseline_settings.local.local.loss=x"], "unknown loss 'x'"),
    ],
)
def test_invalid_losses_are_refused_before_training(tmp_path: Path, settings: list[str], message: str) -> None:
    with pytest.raises(FedfrError) as raised:
        made(tmp_path, *(setting.format(__name__) for setting in settings))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_a_method_with_a_loss_of_its_own_refuses_another(tmp_path: Path) -> None:
    name = f"{__name__}:Fixed"
    for settings in (
        [f"method.name={name}", "local.loss=arcface"],
        [f"method.name={name}", "method.local.loss=arcface"],
        [f"baselines=[local,{name}]", "local.loss=arcface"],
        [f"baselines=[{name}]", f"baseline_settings={{'{name}': {{local: {{loss: arcface}}}}}}"],
    ):
        with pytest.raises(
            FedfrError, match=rf"method {name}: local\.loss = 'arcface': the method has a loss of its own"
        ):
            made(tmp_path, *settings)
        assert not (tmp_path / "run").exists()
    assert made(tmp_path, f"method.name={name}", "baselines=[local]", "baseline_settings.local.local.loss=arcface")
    # Only its rounds can show what this method does.
    assert made(tmp_path / "other", f"method.name={__name__}:Demanding", "local.loss=arcface")


def test_registered_losses_are_stored_with_importable_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOSSES, "_registered", {})
    fedfr.register_loss("own", own_logits)
    named = ("pretrain.loss=own", "local.loss=own", "method.local.loss=own", "baseline_settings.local.local.loss=own")
    run = made(tmp_path, "baselines=[local]", *named, "runtime.workers=2")
    config, stored = run.config, f"{__name__}:own_logits"
    own = config.baseline_settings["local"]["local"], config.method.local
    assert [config.pretrain.loss, config.local.loss, *(each["loss"] for each in own)] == [stored] * 4
    fedfr.register_loss("here", lambda features: features.mean())
    with pytest.raises(FedfrError, match=r"loss 'here' was registered in this process alone.*runtime\.workers=1"):
        made(tmp_path / "run", "baselines=[local]", "baseline_settings.local.local.loss=here", "runtime.workers=2")
