"""Model files: saving, loading, contracts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fedfr.core.errors import FedfrError
from fedfr.models import Contract, Preprocessing, load_model, save_model

CONTRACT = Contract("slimface", 512, Preprocessing(std=128.0, columns=(8, 104)), "run-1", role="personalized")
TENSORS = {
    "weight": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "counter": torch.tensor(7),
    "half": torch.ones(2, dtype=torch.bfloat16),
}


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.safetensors"
    save_model(path, TENSORS, CONTRACT)
    tensors, contract = load_model(path)
    assert contract == CONTRACT
    assert tensors.keys() == TENSORS.keys()
    assert all(
        torch.equal(tensors[name], tensor) and tensors[name].dtype == tensor.dtype for name, tensor in TENSORS.items()
    )
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_views_channels_last_and_shared_tensors(tmp_path: Path) -> None:
    base = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    odd = {"nhwc": base.to(memory_format=torch.channels_last), "view": base[:, 1], "tied": base, "twin": base}
    save_model(tmp_path / "m.safetensors", odd, CONTRACT)
    tensors, _ = load_model(tmp_path / "m.safetensors")
    assert all(torch.equal(tensors[name], tensor) for name, tensor in odd.items())


def test_same_model_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_model(tmp_path / name, TENSORS, CONTRACT)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"backbone": "iresnet18"}, "backbone"),
        ({"embedding_dim": 128}, "embedding_dim"),
        ({"preprocessing": Preprocessing()}, "preprocessing"),
        ({"embedding_space": "run-2"}, "embedding_space"),
    ],
)
def test_contract_names_the_field_that_differs(change: dict[str, object], field: str) -> None:
    with pytest.raises(FedfrError, match=field):
        CONTRACT.require(replace(CONTRACT, **change))  # type: ignore[arg-type]


def test_roles_may_differ() -> None:
    CONTRACT.require(replace(CONTRACT, role="generic"))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match="does not exist"):
        load_model(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 60, 0.5, 0.99])
def test_truncated_file(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, TENSORS, CONTRACT)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(FedfrError, match="truncated"):
        load_model(path)


def test_other_file(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"not a model, but long enough to be read as one" * 4)
    with pytest.raises(FedfrError, match="not a complete safetensors file") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("header", [None, {"fedfr": "{"}, {"fedfr": "[]"}, {"fedfr": "{}"}, {"fedfr": '{"format": 1}'}])
def test_safetensors_without_contract(tmp_path: Path, header: dict[str, str] | None) -> None:
    path = tmp_path / "m.safetensors"
    save_file(TENSORS, path, header)
    with pytest.raises(FedfrError, match=r"m\.safetensors"):
        load_model(path)


def test_later_format(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file(TENSORS, path, {"fedfr": '{"format": 2}'})
    with pytest.raises(FedfrError, match="this version reads 1"):
        load_model(path)
