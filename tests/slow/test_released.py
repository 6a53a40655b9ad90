"""The released layout at the size of the paper, and for a method with a separate personal model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.tiny_experiment import tiny_config

from fedfr.experiments.experiment import Experiment
from fedfr.experiments.model_export import export_model
from fedfr.federation.private_store import PrivateStore
from fedfr.models import LAYOUTS, ModelParts, ModelSource, import_weights, load_model

pytestmark = pytest.mark.slow


def test_import_and_export_of_the_authors_network(reference_dir: Path, tmp_path: Path) -> None:
    """A client of 100 identities with the entry names and files of the authors' code."""
    entries = json.loads((reference_dir / "backbones.json").read_text(encoding="utf-8"))["sphereface64"]["state"]
    generator = torch.Generator().manual_seed(0)
    theirs: dict[str, Any] = {
        "backbone.pth": {name: torch.randn(tuple(shape), generator=generator) for name, shape in entries.items()},
        "bce_module.pth": {
            "weight": torch.randn(100, 512, generator=generator),
            "bias": torch.randn(100, generator=generator),
            "converter.0.weight": torch.randn(512, 512, generator=generator),
            "converter.0.bias": torch.randn(512, generator=generator),
        },
        "fc.pth": torch.randn(100, 512, generator=generator),
    }
    client = tmp_path / "clients" / "client_0"
    client.mkdir(parents=True)
    for name, content in theirs.items():
        torch.save(content, client / name)
    made = import_weights(client, tmp_path / "m.safetensors")
    assert (made.contract.backbone, made.contract.role, made.identities) == ("sphereface64", "personalized", 100)
    tensors, contract = load_model(made.path)
    source = ModelSource("m", ModelParts.of_model(tensors, contract), contract.role)
    LAYOUTS["released"](source, tmp_path / "again")
    for name, content in theirs.items():
        mine = torch.load(tmp_path / "again" / name, weights_only=True)
        expected, found = (dict(each) if isinstance(each, dict) else {"": each} for each in (content, mine))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_a_separately_trained_personal_model(tmp_path: Path) -> None:
    run = tmp_path / "run"
    Experiment.create(
        tiny_config(tmp_path, "federation.rounds=1", "method.name=ditto", "model.backbone=slimface"), run
    ).run()
    export_model(run, tmp_path / "out", "released")
    state = PrivateStore(run / "clients" / "client-01", "client-01").latest()
    assert state is not None
    folder = tmp_path / "out" / "clients" / "client_0"
    backbone = torch.load(folder / "backbone.pth", weights_only=True)
    assert backbone.keys() == state.personal_backbone.keys()
    assert all(torch.equal(backbone[name], value) for name, value in state.personal_backbone.items())
    assert any(not torch.equal(backbone[name], value) for name, value in state.backbone.items())
    assert torch.equal(torch.load(folder / "fc.pth", weights_only=True), state.personal["prototypes"])
