"""Backbones compared with the original implementation: exact names and shapes, features to a relative error of 1e-3."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedfr.models import BACKBONES, build_backbone, load_foreign, load_weights, recognize_backbone

NAMES = tuple(name for name in BACKBONES.builtin if name.startswith(("sphereface", "iresnet")))
TOLERANCE = 1e-3


def weights_by_rule(module: nn.Module, seed: int) -> dict[str, Tensor]:
    """The weights the reference features were computed with: one generator, every entry in order."""
    random = np.random.RandomState(seed)
    state = {}
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            state[name] = torch.zeros_like(tensor)
            continue
        shape = tuple(tensor.shape)
        drawn = random.standard_normal(shape)
        if len(shape) >= 2:
            values = drawn * np.sqrt(2.0 / np.prod(shape[1:]))
        elif name.endswith("running_var"):
            values = 1.0 + 0.1 * np.abs(drawn)
        elif name.endswith(("running_mean", "bias")):
            values = 0.1 * drawn
        else:
            values = 0.5 + 0.1 * drawn
        state[name] = torch.from_numpy(values.astype(np.float32))
    return state


@pytest.mark.parametrize("name", NAMES)
def test_entries_and_shapes_in_order(reference_dir: Path, name: str) -> None:
    expected = json.loads((reference_dir / "backbones.json").read_text())[name]
    with torch.device("meta"):
        module = BACKBONES[name].factory()
    assert [(k, list(v.shape)) for k, v in module.state_dict().items()] == list(expected["state"].items())
    assert sum(p.numel() for p in module.parameters()) == expected["parameters"]


@pytest.mark.parametrize("name", ["sphereface20", "iresnet18", "iresnet50", "sphereface64"])
def test_features(reference_dir: Path, name: str) -> None:
    with np.load(reference_dir / f"backbone_{name}.npz") as numbers:
        images, expected, seed = numbers["images"], numbers["features"], int(numbers["seed"])
    module = BACKBONES[name].factory().eval()
    load_weights(module, weights_by_rule(module, seed))
    with torch.no_grad():
        features = module(BACKBONES[name].preprocessing.apply(torch.from_numpy(images))).numpy()
    assert np.linalg.norm(features - expected) / np.linalg.norm(expected) < TOLERANCE


def test_published_mobilefacenet_loads(models_dir: Path) -> None:
    state = load_foreign(models_dir / "mobilefacenet_casia.ckpt")
    assert recognize_backbone(state) == "mobilefacenet-112x96"
    module = build_backbone("mobilefacenet-112x96", seed=0)
    load_weights(module, state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
