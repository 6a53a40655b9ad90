"""Export layouts of models: readable by other programs, and identical after import."""

from __future__ import annotations

import json
import resource
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedfr.core.errors import FedfrError
from fedfr.models import (
    DFC,
    LAYOUTS,
    Contract,
    ModelParts,
    ModelSource,
    Preprocessing,
    TransformKind,
    build_backbone,
    import_weights,
    load_model,
)

BACKBONE: dict[str, Tensor] = build_backbone("slimface", seed=1).state_dict()
GENERATOR = torch.Generator().manual_seed(2)


def parts(identities: int, transform: TransformKind = "linear") -> ModelParts:
    """A client's, with every value drawn."""
    dfc = {
        name: torch.randn(value.shape, generator=GENERATOR)
        for name, value in DFC(identities, 512, transform).state_dict().items()
    }
    backbone = {name: value + 0.25 if value.is_floating_point() else value for name, value in BACKBONE.items()}
    return ModelParts(backbone, torch.randn(identities, 512, generator=GENERATOR), dfc)


GENERIC = ModelParts(BACKBONE, torch.randn(9, 512, generator=GENERATOR))
CLIENTS = {"nörd": parts(3), "absent": None, "süd": parts(5, "bottleneck")}
SMALL = ModelSource(
    "a small model",
    ModelParts(build_backbone("slimface-small", seed=1).state_dict()),
    contract=Contract("slimface-small", 128, Preprocessing(), "sha256:01"),
    calibration=np.zeros((2, 112, 112, 3), np.uint8),
)
SOURCE = ModelSource("the run", GENERIC, clients={name: partial(CLIENTS.get, name) for name in CLIENTS})


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def same(mine: object, theirs: object) -> bool:
    if isinstance(mine, Tensor):
        return isinstance(theirs, Tensor) and mine.dtype == theirs.dtype and torch.equal(mine, theirs)
    assert isinstance(mine, dict)
    assert isinstance(theirs, dict)
    return mine.keys() == theirs.keys() and all(same(mine[name], theirs[name]) for name in mine)


def test_the_released_layout(tmp_path: Path) -> None:
    folder = tmp_path / "för others"
    files = LAYOUTS["released"](SOURCE, folder)
    assert (
        sorted(str(file.relative_to(folder)) for file in files)
        == sorted(content(folder))
        == [
            "backbone.pth",
            "clients/client_0/backbone.pth",
            "clients/client_0/bce_module.pth",
            "clients/client_0/fc.pth",
            "clients/client_2/backbone.pth",
            "clients/client_2/bce_module.pth",
            "clients/client_2/fc.pth",
            "clients/names.json",
            "fc.pth",
        ]
    )
    names = json.loads((folder / "clients" / "names.json").read_text(encoding="utf-8"))
    assert names == {"client_0": "nörd", "client_2": "süd"}
    assert same(torch.load(folder / "backbone.pth", weights_only=True), BACKBONE)
    assert same(torch.load(folder / "fc.pth", weights_only=True), GENERIC.prototypes)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_their_modules_load_it_strictly(tmp_path: Path) -> None:
    """As the released local_all.py and server.py do: a state dict into the module, public prototypes by torch.cat."""
    LAYOUTS["released"](SOURCE, tmp_path / "out")
    client = tmp_path / "out" / "clients" / "client_0"
    module, converter = nn.Module(), nn.Linear(512, 512)
    module.converter = nn.Sequential(converter)
    module.weight, module.bias = nn.Parameter(torch.zeros(3, 512)), nn.Parameter(torch.zeros(3))
    module.load_state_dict(torch.load(client / "bce_module.pth", weights_only=True))
    own = CLIENTS["nörd"]
    assert own is not None
    assert torch.equal(converter.weight, own.dfc["transform.weight"])
    assert torch.equal(module.weight, own.dfc["branches.weight"])
    backbone = build_backbone("slimface", seed=9)
    backbone.load_state_dict(torch.load(client / "backbone.pth", weights_only=True))
    fc = torch.load(tmp_path / "out" / "fc.pth", weights_only=True)
    assert torch.cat([torch.zeros(3, 512), fc], dim=0).shape == (12, 512)


@pytest.mark.parametrize("place", ["", "clients/client_0", "clients/client_2"])
def test_export_and_import_are_exact(tmp_path: Path, place: str) -> None:
    """Their layout → our model → their layout: the same bytes; linear and bottleneck, generic and client's."""
    LAYOUTS["released"](SOURCE, tmp_path / "out")
    theirs = tmp_path / "out" / place
    made = import_weights(theirs, tmp_path / "m.safetensors")
    tensors, contract = load_model(made.path)
    again = ModelSource("m", ModelParts.of_model(tensors, contract), contract.role)
    LAYOUTS["released"](again, tmp_path / "again")
    expected = {name: data for name, data in content(theirs).items() if not name.startswith("clients/")}
    assert content(tmp_path / "again") == expected


@pytest.mark.parametrize("role", ["generic", "personalized"])
def test_a_plain_state_dict(tmp_path: Path, role: str) -> None:
    model = CLIENTS["nörd"] if role == "personalized" else GENERIC
    assert model is not None
    (file,) = LAYOUTS["state-dict"](ModelSource("m", model, role), tmp_path / "m.pth")
    state = torch.load(file, weights_only=True)
    assert not any("prototypes" in name for name in state)
    if role == "generic":
        assert same(state, BACKBONE)
        build_backbone("slimface", seed=9).load_state_dict(state)
    else:
        assert {name.split(".")[0] for name in state} == {"backbone", "dfc"}
        assert torch.equal(state["dfc.transform.weight"], model.dfc["transform.weight"])
        assert not any("branches" in name for name in state), "they name the client's people as prototypes do"


def test_views_are_stored_without_their_base(tmp_path: Path) -> None:
    """torch.save would write the whole underlying file for every view."""
    whole = torch.zeros(1_000_000)
    (file,) = LAYOUTS["state-dict"](ModelSource("m", ModelParts({"w": whole[:10]})), tmp_path / "m.pth")
    assert file.stat().st_size < 10_000


def test_nothing_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "m.pth").write_text("mine", encoding="utf-8")
    (tmp_path / "m.onnx").touch()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    before = content(tmp_path)
    for layout, name, match in (
        ("state-dict", "m.pth", "exists already"),
        (
            "state-dict",
            "m.safetensors",
            r"is not a name for a state dict; give one that ends with \.pth or \.pt or \.ckpt",
        ),
        ("released", "out", "already holds files and is not replaced"),
        ("released", "m.pth", "is a file; name a new folder"),
        ("onnx", "m.pth", r"is not a name for an ONNX file; give one that ends with \.onnx"),
        ("onnx", "m.onnx", "exists already"),
        ("onnx", "new.onnx", "the run has no contract"),
        ("onnx-int8", "new.onnx", "needs faces to calibrate with: --calibration FACES"),
    ):
        with pytest.raises(FedfrError, match=match):
            LAYOUTS[layout](SOURCE, tmp_path / name)
    assert content(tmp_path) == before


def test_nothing_to_export(tmp_path: Path) -> None:
    nothing = ModelSource("the run", None)
    with pytest.raises(FedfrError, match="the run has no generic model under this method"):
        LAYOUTS["state-dict"](nothing, tmp_path / "m.pth")
    with pytest.raises(FedfrError, match="the run has no model to export yet"):
        LAYOUTS["released"](nothing, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", LAYOUTS.builtin)
def test_a_full_disk_leaves_no_files(tmp_path: Path, layout: str) -> None:
    name = {"state-dict": "m.pth", "onnx": "m.onnx", "onnx-int8": "m.onnx"}.get(layout, "out")
    source = SOURCE
    if "onnx" in layout:
        pytest.importorskip("onnxscript")
        source = SMALL
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(FedfrError, match=r"cannot write .*: File too large"):
            LAYOUTS[layout](source, tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_personalized_model_has_no_other_parts() -> None:
    contract = Contract("slimface", 512, Preprocessing(), "space", "personalized")
    with pytest.raises(FedfrError, match="a personalized model has no entry 'w'"):
        ModelParts.of_model({"w": torch.ones(1)}, contract)
