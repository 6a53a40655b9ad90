"""DFC modules and prototypes as FedFR's released code saves them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedfr.core.errors import FedfrError
from fedfr.models import DFC, TransformKind, foreign_dfc_entries, load_foreign_dfc, load_foreign_prototypes

K, D = 5, 32
U = torch.randn(6, D, generator=torch.Generator().manual_seed(0))


def linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


BRANCHES = {"weight": (K, D), "bias": (K,)}
# The released code's entries: client.py (BCE_module) and backbones/bottle.py (BottleBlock), converters 1 and 2.
ENTRIES: dict[TransformKind, dict[str, tuple[int, ...]]] = {
    "linear": BRANCHES | linear("converter.0", D, D),
    "bottleneck": BRANCHES
    | {name: shape for b in "1234" for name, shape in linear(f"converter.br{b}.0", D // 4, D).items()}
    | {name: shape for b in "1234" for name, shape in linear(f"converter.br{b}.2", D // 4, D // 4).items()}
    | linear("converter.concat_fc", D, D),
}
KINDS: list[TransformKind] = ["linear", "bottleneck"]


def theirs(kind: TransformKind) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(shape, generator=generator) for name, shape in ENTRIES[kind].items()}


def transformed(state: dict[str, Tensor], kind: TransformKind) -> Tensor:
    """T(u), computed from the entries of the released module."""

    def layer(name: str, x: Tensor) -> Tensor:
        return nn.functional.linear(x, state[f"converter.{name}.weight"], state[f"converter.{name}.bias"])

    if kind == "linear":
        return layer("0", U)
    act = nn.functional.leaky_relu
    branches = [act(layer(f"br{b}.2", act(layer(f"br{b}.0", U)))) for b in "1234"]
    return U + layer("concat_fc", torch.cat(branches, dim=1))


def written(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_the_released_module_gives_equal_results(tmp_path: Path, kind: TransformKind) -> None:
    state = theirs(kind)
    module = load_foreign_dfc(written(tmp_path / "bce_module.pth", state))
    torch.testing.assert_close(module(U), transformed(state, kind))
    assert torch.equal(module.branches.weight, state["weight"])
    assert torch.equal(module.branches.bias, state["bias"])
    assert all(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_export_and_import(tmp_path: Path, kind: TransformKind) -> None:
    state = theirs(kind)
    again = foreign_dfc_entries(load_foreign_dfc(written(tmp_path / "bce_module.pth", state)))
    assert again.keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.items())
    ours = DFC(K, D, kind)
    back = load_foreign_dfc(written(tmp_path / "ours.pth", foreign_dfc_entries(ours)))
    assert all(torch.equal(tensor, back.state_dict()[name]) for name, tensor in ours.state_dict().items())


def test_a_bottleneck_of_512_has_the_released_shapes() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in foreign_dfc_entries(DFC(100, 512, "bottleneck")).items()}
    assert shapes["converter.br4.0.weight"] == (128, 512)
    assert shapes["converter.br4.2.weight"] == (128, 128)
    assert shapes["converter.concat_fc.weight"] == (512, 512)


def test_the_modules_of_data_parallel_are_read(tmp_path: Path) -> None:
    state = theirs("linear")
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    assert torch.equal(load_foreign_dfc(written(tmp_path / "bce.pth", wrapped)).branches.weight, state["weight"])


@pytest.mark.parametrize("kind", KINDS)
def test_reading_draws_no_random_number(tmp_path: Path, kind: TransformKind) -> None:
    path = written(tmp_path / "bce_module.pth", theirs(kind))
    before = torch.random.get_rng_state()
    load_foreign_dfc(path)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("linear", {"weight": None}, "are not a DFC module: weight is missing; give a bce_module.pth"),
        ("linear", {"weight": torch.zeros(3)}, r"weight is \(3,\), not \(identities, length of a feature\)"),
        ("linear", {"weight": torch.zeros(0, D)}, r"weight is \(0, 32\), not \(identities"),
        ("linear", {"bias": torch.zeros(4)}, r"with linear transform: bias is \(4,\), not \(5,\); give"),
        ("linear", {"converter.0.bias": None}, r"converter\.0\.bias is missing"),
        ("linear", {"converter.1.weight": torch.zeros(D, D)}, r"converter\.1\.weight is unknown"),
        ("bottleneck", {"converter.br2.2.bias": None}, r"bottleneck transform: converter\.br2\.2\.bias is missing"),
        ("bottleneck", {"converter.br5.0.bias": torch.zeros(8)}, r"converter\.br5\.0\.bias is unknown"),
        (
            "bottleneck",
            {"converter.br1.0.weight": torch.zeros(D, 8)},
            r"converter\.br1\.0\.weight is \(32, 8\), not \(8, 32\)",
        ),
    ],
)
def test_differences_are_named(tmp_path: Path, kind: TransformKind, changes: dict[str, Any], expected: str) -> None:
    state = {name: tensor for name, tensor in (theirs(kind) | changes).items() if tensor is not None}
    path = written(tmp_path / "bce_module.pth", state)
    with pytest.raises(FedfrError, match=expected) as caught:
        load_foreign_dfc(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("prototypes", [torch.randn(K, D), {"fc": torch.randn(K, D)}, torch.randn(K, D).half()])
def test_prototypes(tmp_path: Path, prototypes: Any) -> None:
    found = load_foreign_prototypes(written(tmp_path / "fc.pth", prototypes))
    expected = prototypes["fc"] if isinstance(prototypes, dict) else prototypes
    assert torch.equal(found, expected.float())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (theirs("linear"), r"they contain entries \['bias', 'converter\.0\.bias', 'converter\.0\.weight'\]"),
        ({"fc": torch.zeros(D)}, r"they contain torch\.float32 \(32,\); allowed is one matrix of floats"),
        (torch.zeros(K, D, dtype=torch.int64), r"they contain torch\.int64 \(5, 32\)"),
        (torch.zeros(0, D), r"they contain torch\.float32 \(0, 32\)"),
        ([torch.zeros(K, D)], "they contain list; allowed is one matrix"),
        ({"fc": 3}, "they contain int; allowed is one matrix"),
        (torch.full((K, D), torch.nan), "hold NaN or infinity"),
    ],
)
def test_no_prototypes(tmp_path: Path, content: object, expected: str) -> None:
    path = written(tmp_path / "fc.pth", content)
    with pytest.raises(FedfrError, match=expected) as caught:
        load_foreign_prototypes(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


class Evil:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder / "ran"),)


@pytest.mark.parametrize("load", [load_foreign_dfc, load_foreign_prototypes])
def test_damaged_files_and_code_in_them(tmp_path: Path, load: Any) -> None:
    content = theirs("linear") if load is load_foreign_dfc else torch.randn(500, D)
    path = written(tmp_path / "weights.pth", content)
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(FedfrError, match="cannot be read"):
        load(path)
    with pytest.raises(FedfrError, match="do not exist"):
        load(tmp_path / "none.pth")
    with pytest.raises(FedfrError, match="only tensors"):
        load(written(path, {"fc": Evil(tmp_path)}))
    assert not (tmp_path / "ran").exists()
