"""Targets that read models and stored features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tests.support.fuzz.bounds import refusal
from tests.support.fuzz.run_samples import WEIGHTS
from tests.support.fuzz.targets import Target

from fedfr.federation.feature_store import FeatureStore
from fedfr.models.checkpoint import Contract, load_model, save_model
from fedfr.models.foreign import load_backbone
from fedfr.models.foreign_heads import load_foreign_dfc, load_foreign_prototypes
from fedfr.models.network_files import network_space, save_network
from fedfr.models.onnx_contract import with_contract
from fedfr.models.onnx_model import OnnxBackbone
from fedfr.models.opened_model import open_model
from fedfr.models.preprocessing import Preprocessing
from fedfr.models.released import read_released
from fedfr.training.feature_blocks import FeatureBlocks
from fedfr.training.pretraining import _resume

__all__ = ["TARGETS"]


def _model(folder: Path) -> None:
    contract = Contract("slimface", 4, Preprocessing(), "sha256:0", "generic")
    save_model(folder / "model.safetensors", WEIGHTS, contract)


def _weights(folder: Path) -> None:
    torch.save({"state_dict": WEIGHTS, "epoch": 3}, folder / "new.pth")
    torch.save(WEIGHTS, folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file(WEIGHTS, folder / "a.safetensors")


def _read_weights(folder: Path) -> None:
    for name in ("new.pth", "old.pth", "a.safetensors"):
        for read in (load_backbone, load_foreign_dfc, load_foreign_prototypes):
            text = refusal(lambda read=read, name=name: read(folder / name))  # type: ignore[misc]
            assert text is not None
    (folder / "backbone.pth").write_bytes((folder / "new.pth").read_bytes())
    refusal(lambda: read_released(folder))


def _onnx(folder: Path) -> None:
    from tests.models.test_bombs import network

    network(folder / "n.onnx")
    contract = Contract("slimface", 48, Preprocessing(), "sha256:0", "generic")
    (folder / "contract.onnx").write_bytes(with_contract((folder / "n.onnx").read_bytes(), contract))


def _read_onnx(folder: Path) -> None:
    OnnxBackbone(folder / "n.onnx")
    model = open_model(folder / "contract.onnx")
    network_space(model)
    save_network(model, folder / "copy.onnx")


def _blocks(folder: Path) -> None:
    list(FeatureBlocks(folder / "kept", 2, {"of": "a"}).blocks(lambda first, stop: np.ones((2, 4), np.float32)))


def _read_blocks(folder: Path) -> None:
    blocks = FeatureBlocks(folder / "kept", 2, {"of": "a"})
    assert [part.shape for part in blocks.blocks(lambda first, stop: np.ones((2, 4), np.float32))] == [(2, 4)]


def _features(folder: Path) -> None:
    FeatureStore(folder).fetch("model", ["chunk"], lambda number: torch.ones(2, 4))


def _read_features(folder: Path) -> None:
    (found,) = FeatureStore(folder).fetch("model", ["chunk"], lambda number: torch.ones(2, 4))
    found.sum()


def _pretrained(folder: Path) -> None:
    tensors = {"network/w": torch.ones(2, 3), "network/b": torch.ones(2), "momentum/0": torch.ones(2, 3)}
    save_file(
        {name.replace("/w", "/weight").replace("/b", "/bias"): t for name, t in tensors.items()},
        folder / "p",
        {"epochs": "2"},
    )


def _read_pretrained(folder: Path) -> None:
    _resume(folder / "p", torch.nn.Linear(3, 2))  # type: ignore[arg-type]


TARGETS = {
    "model": Target(("models.checkpoint",), _model, lambda folder: load_model(folder / "model.safetensors")),
    "weights": Target(
        ("models.foreign", "models.foreign_files", "models.foreign_heads", "models.released"), _weights, _read_weights
    ),
    "onnx": Target(
        ("models.onnx_contract", "models.onnx_graph", "models.onnx_model", "models.network_files"), _onnx, _read_onnx
    ),
    "pre-training": Target(("training.pretraining",), _pretrained, _read_pretrained),
    "kept features": Target(("training.feature_blocks",), _blocks, _read_blocks, "*.npz"),
    "public features": Target(("federation.feature_store",), _features, _read_features, "*.npy"),
}
