"""Import of weights published by other projects."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fedfr.core.errors import FedfrError
from fedfr.models import build_backbone, load_foreign, load_weights, recognize_backbone

NAME = "mobilefacenet"
STATE: dict[str, Tensor] = build_backbone(NAME, seed=3).state_dict()
STEM = "conv1.conv.weight"


def wrapped(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in STATE.items()}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        wrapped("module."),
        {"epoch": 3, "net_state_dict": STATE},
        {"state_dict": wrapped("module."), "optimizer": {"lr": 0.1}},
        {"model": {"state_dict": wrapped("module.backbone.")}},
    ],
    ids=["plain", "data-parallel", "net_state_dict", "state_dict", "nested"],
)
def test_takes_the_weights_out_of_what_training_scripts_write(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    state = load_foreign(path)
    assert state.keys() == STATE.keys()
    assert recognize_backbone(state) == NAME
    module = build_backbone(NAME, seed=4)
    load_weights(module, state)
    assert all(torch.equal(tensor, STATE[name]) for name, tensor in module.state_dict().items())


def test_reads_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(STATE, path)
    assert recognize_backbone(load_foreign(path)) == NAME


def test_missing_batch_counters_are_zero() -> None:
    old = {name: tensor for name, tensor in STATE.items() if not name.endswith("num_batches_tracked")}
    assert recognize_backbone(old) == NAME
    module = build_backbone(NAME, seed=4)
    load_weights(module, old)
    assert module.state_dict()["conv1.bn.num_batches_tracked"] == 0


def test_nearest_backbone_and_entries_that_differ() -> None:
    state = {name: tensor for name, tensor in STATE.items() if name != STEM} | {"extra": torch.zeros(1)}
    with pytest.raises(FedfrError, match=f"nearest is '{NAME}', but {STEM} is missing; extra is unknown"):
        recognize_backbone(state)


def test_wrong_shape_is_named() -> None:
    with pytest.raises(FedfrError, match=r"MobileFaceNet: conv1\.conv\.weight is \(1, 3, 3, 3\), not \(64, 3, 3, 3\)"):
        load_weights(build_backbone(NAME, seed=0), STATE | {STEM: torch.zeros(1, 3, 3, 3)})


def test_weights_of_another_backbone_do_not_change_the_module() -> None:
    module = build_backbone("slimface", seed=0)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(FedfrError, match=r"SlimFace: .* more; choose the backbone") as caught:
        load_weights(module, STATE)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "weights.pth"
    torch.save({"state_dict": Evil()}, path)
    with pytest.raises(FedfrError, match="only tensors") as caught:
        load_foreign(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 broken zip", b"\x80\x02broken pickle"])
def test_broken_file(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(FedfrError, match="cannot be read") as caught:
        load_foreign(path)
    assert "\n" not in str(caught.value)


def test_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(FedfrError, match="cannot be read"):
        load_foreign(path)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], torch.zeros(3)])
def test_file_without_weights(tmp_path: Path, content: object) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(FedfrError, match="contain no table of tensors"):
        load_foreign(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match="do not exist"):
        load_foreign(tmp_path / "none.pth")
