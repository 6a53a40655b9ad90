"""Backbones of other packages: networks that do not map faces to features are refused before training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.support.tiny_experiment import tiny_config

from fedfr.core.errors import FedfrError
from fedfr.experiments.experiment import Experiment
from fedfr.models import BackboneSpec, Preprocessing, build_backbone


class Flat(torch.nn.Module):
    """A backbone of 48 values, whatever it declares."""

    embedding_dim = 48

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(images, 28).flatten(1)


class Squeezed(Flat):
    """A backbone without a batch."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images).flatten()


class Pair(Flat):
    """A backbone that returns more than its features."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images), None  # type: ignore[return-value]


class Whole(Flat):
    """A backbone with integer outputs."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images).long()


class Failing(Flat):
    """A backbone of larger images."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(images, 224).flatten(1)


LONG = BackboneSpec(Flat, embedding_dim=64)
NOTHING = BackboneSpec(lambda: None)  # type: ignore[arg-type, return-value]
BROKEN = BackboneSpec(lambda: torch.nn.Linear(3, -1))
NARROW = BackboneSpec(Flat, 36, Preprocessing(columns=(8, 104)))
LAZY = BackboneSpec(lambda: torch.nn.Sequential(Flat(), torch.nn.LazyLinear(32), torch.nn.Dropout()), 32)

WRONG = [
    ("LONG", "returns shape (2, 48) for two faces, not (2, 64); correct its last layer or its embedding_dim"),
    ("Squeezed", "returns shape (96,) for two faces, not (2, 48)"),
    ("Pair", "returns tuple for two faces, not (2, 48)"),
    ("Whole", "returns shape (2, 48) of torch.int64 for two faces"),
    ("Failing", "cannot be built or fails on blank images (2, 3, 112, 112) (RuntimeError: "),
    ("NOTHING", "makes a NoneType; let it make a torch.nn.Module"),
    ("BROKEN", "cannot be built or fails on blank images (2, 3, 112, 112) (RuntimeError: "),
]


@pytest.mark.parametrize(("name", "message"), WRONG)
def test_a_wrong_backbone_is_refused(name: str, message: str) -> None:
    with pytest.raises(FedfrError) as raised:
        build_backbone(f"{__name__}:{name}", 0)
    assert str(raised.value).startswith(f"backbone '{__name__}:{name}' {message}")
    assert "\n" not in str(raised.value)


def test_a_run_is_refused_at_the_start(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, f"model.backbone={__name__}:LONG", "pretrain.epochs=1000")
    with pytest.raises(FedfrError, match=r"returns shape \(2, 48\) for two faces, not \(2, 64\)"):
        Experiment.create(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_columns_of_the_specification_and_lazy_layers_are_kept() -> None:
    assert build_backbone(f"{__name__}:NARROW", 0).training
    first, again, other = (build_backbone(f"{__name__}:LAZY", seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(first["1.weight"], again["1.weight"])
    assert not torch.equal(first["1.weight"], other["1.weight"])
    assert first["1.weight"].shape == (32, 48)
    made = build_backbone(f"{__name__}:LAZY", 0)
    made(torch.zeros(2, 3, 112, 112)).sum().backward()
    assert all(parameter.grad is not None for parameter in made.parameters())
