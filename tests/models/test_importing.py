"""Conversion of third-party weights to models with a contract, atomically."""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fedfr.core.errors import FedfrError
from fedfr.models import (
    BACKBONES,
    Contract,
    UserPreprocessing,
    build_backbone,
    embedding_space,
    import_weights,
    inspect_model,
    load_model,
    open_model,
    save_model,
)

NAME = "slimface"
STATE: dict[str, Tensor] = build_backbone(NAME, seed=3).state_dict()
FIRST = next(iter(STATE))
K = 3


class BranchModule(nn.Module):
    """Parameters under the names of the released client.py: what its ``torch.save(module.state_dict())`` writes."""

    def __init__(self, dim: int = 512) -> None:
        super().__init__()
        self.converter = nn.Sequential(nn.Linear(dim, dim))
        self.weight = nn.Parameter(torch.normal(0, 0.01, (K, dim), generator=torch.Generator().manual_seed(5)))
        self.bias = nn.Parameter(torch.arange(float(K)))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "plâce with spaces"
    folder.mkdir()
    return folder


@pytest.fixture
def weights(place: Path) -> Path:
    torch.save(OrderedDict(STATE), place / "wéights.pth")
    return place / "wéights.pth"


@pytest.fixture
def client(place: Path) -> Path:
    """A client's folder, written the authors' way."""
    folder = place / "client_0"
    folder.mkdir()
    torch.save(OrderedDict(STATE), folder / "backbone.pth")
    torch.save(BranchModule().state_dict(), folder / "bce_module.pth")
    torch.save(torch.randn(K, 512, generator=torch.Generator().manual_seed(6)), folder / "fc.pth")
    return folder


def refused(source: Path, match: str, **options: Any) -> None:
    """Check that the import fails in one line and leaves no file."""
    before = sorted(source.parent.rglob("*"))
    with pytest.raises(FedfrError, match=match) as caught:
        import_weights(source, source.parent / "made.safetensors", **options)
    assert "\n" not in str(caught.value)
    assert sorted(source.parent.rglob("*")) == before


def test_a_state_dict_becomes_a_model(weights: Path) -> None:
    made = import_weights(weights, weights.with_name("m.safetensors"))
    tensors, contract = load_model(made.path)
    assert contract == made.contract
    assert (contract.backbone, contract.embedding_dim, contract.role) == (NAME, 512, "generic")
    assert contract.preprocessing == BACKBONES[NAME].preprocessing
    assert contract.embedding_space == embedding_space(STATE)
    assert tensors.keys() == STATE.keys()
    assert all(
        torch.equal(tensors[name], value) and tensors[name].dtype == value.dtype for name, value in STATE.items()
    )
    assert made.entries == len(STATE)
    assert "fedfr's own training" in made.assumed


def test_half_precision_and_missing_counters_are_completed(place: Path) -> None:
    old = {name: value.half() for name, value in STATE.items() if not name.endswith("num_batches_tracked")}
    assert len(old) < len(STATE)
    torch.save({"state_dict": {f"module.{name}": value for name, value in old.items()}}, place / "old.pth")
    tensors, _ = load_model(import_weights(place / "old.pth", place / "m.safetensors").path)
    assert tensors.keys() == STATE.keys()
    assert all(torch.equal(tensors[name], value.float()) for name, value in old.items())
    assert all(tensors[name] == 0 for name in tensors.keys() - old.keys())


def test_the_published_mobilefacenet(models_dir: Path, place: Path) -> None:
    made = import_weights(models_dir / "mobilefacenet_casia.ckpt", place / "m.safetensors")
    assert made.contract.backbone == "mobilefacenet-112x96"
    assert made.contract.preprocessing == BACKBONES["mobilefacenet-112x96"].preprocessing
    assert "columns 8 to 103; RGB; (x − 127.5) / 128 – assumed from MobileFaceNet_Pytorch" in made.assumed
    theirs = torch.load(models_dir / "mobilefacenet_casia.ckpt", "cpu", weights_only=True)["net_state_dict"]
    tensors, _ = load_model(made.path)
    assert all(torch.equal(tensors[name], value) for name, value in theirs.items())


def test_a_client_of_the_released_code(client: Path) -> None:
    made = import_weights(client, client.with_name("m.safetensors"))
    assert (made.contract.role, made.identities) == ("personalized", K)
    tensors, _ = load_model(made.path)
    branches = torch.load(client / "bce_module.pth", weights_only=True)
    assert torch.equal(tensors["dfc.transform.weight"], branches["converter.0.weight"])
    assert torch.equal(tensors["dfc.branches.bias"], branches["bias"])
    assert torch.equal(tensors["private_prototypes"], torch.load(client / "fc.pth", weights_only=True))
    assert all(torch.equal(tensors[f"backbone.{name}"], value) for name, value in STATE.items())
    network = {name: value for name, value in tensors.items() if name.startswith(("backbone.", "dfc.transform."))}
    assert made.contract.embedding_space == embedding_space(network), "prototypes and branches compute no feature"


def test_without_a_dfc_module_the_role_is_generic_or_as_said(client: Path) -> None:
    (client / "bce_module.pth").unlink()
    generic = import_weights(client, client.with_name("g.safetensors"))
    assert (generic.contract.role, generic.identities) == ("generic", K)
    own = import_weights(client, client.with_name("p.safetensors"), role="personalized")
    assert own.contract.role == "personalized"
    assert set(load_model(own.path)[0]) == {"private_prototypes", *(f"backbone.{name}" for name in STATE)}


def test_incompatible_files_are_refused(client: Path) -> None:
    refused(client, "contains a client's DFC module; leave out --role", role="generic")
    torch.save(torch.zeros(K + 4, 512), client / "fc.pth")
    refused(client, r"prototypes of shape \(7, 512\) in fc\.pth and branches of shape \(3, 512\)")
    (client / "fc.pth").unlink()
    torch.save(BranchModule(128).state_dict(), client / "bce_module.pth")
    refused(client, "branches of length 128 and a backbone of 512")
    (client / "backbone.pth").unlink()
    refused(client, r"contains no backbone\.pth; give a file of weights, or a folder")


def test_a_required_backbone_is_enforced(weights: Path) -> None:
    assert import_weights(weights, weights.with_name("m.safetensors"), backbone=NAME).contract.backbone == NAME
    weights.with_name("m.safetensors").unlink()
    refused(weights, r"wéights\.pth: weights do not fit iresnet18: .* more; name another", backbone="iresnet18")
    refused(weights, "unknown backbone 'slimfac'; did you mean 'slimface'", backbone="slimfac")
    refused(weights, "role is 'global'; allowed are generic and personalized", role="global")


def test_the_nearest_backbone_and_what_differs(place: Path) -> None:
    changed = {name: value for name, value in STATE.items() if name != FIRST} | {"extra": torch.zeros(2)}
    torch.save(changed, place / "w.pth")
    refused(place / "w.pth", rf"w\.pth: .* nearest is '{NAME}', but {FIRST} is missing; extra is unknown; known: ")
    torch.save(dict.fromkeys(["a"], torch.ones(2)) | STATE | {f"{FIRST}.deeper": torch.zeros(2)}, place / "w.pth")
    refused(place / "w.pth", rf"nearest is '{NAME}', but a is unknown; .*{FIRST}\.deeper is unknown")


def test_stated_input_is_in_the_contract_and_evaluation_keeps_to_it(weights: Path) -> None:
    made = import_weights(
        weights, weights.with_name("m.safetensors"), user_preprocessing=UserPreprocessing(colour="BGR", std=128)
    )
    assert "BGR; (x − 127.5) / 128 – colour, std as given, the rest assumed from fedfr's own" in made.assumed
    opened = open_model(made.path)
    assert (opened.preprocessing.colour, opened.preprocessing.mean, opened.preprocessing.std) == ("BGR", 127.5, 128)
    assert opened.assumed == ""
    with pytest.raises(FedfrError, match=r"contract that states its input \(.*BGR.*\); leave out --colour"):
        open_model(made.path, UserPreprocessing(colour="RGB"))


@pytest.mark.parametrize(
    "user_preprocessing",
    [
        UserPreprocessing(colour="GRB"),
        UserPreprocessing(std=0),
        UserPreprocessing(std=float("nan")),
        UserPreprocessing(mean=float("inf")),
    ],
)
def test_invalid_input_settings_are_refused(weights: Path, user_preprocessing: UserPreprocessing) -> None:
    refused(weights, "preprocessing: (colour is 'GRB'|mean is)", user_preprocessing=user_preprocessing)


def test_existing_files_are_not_replaced(weights: Path) -> None:
    made = weights.with_name("made.safetensors")
    made.write_text("mine", encoding="utf-8")
    refused(weights, r"made\.safetensors exists already")
    assert made.read_text(encoding="utf-8") == "mine"
    with pytest.raises(FedfrError, match=r"is not a name for a model; give one that ends with \.safetensors"):
        import_weights(weights, weights.with_name("model.pth"))


def test_other_files_are_refused(place: Path, weights: Path) -> None:
    own = import_weights(weights, place / "own.safetensors").path
    refused(own, r"own\.safetensors already is a model of fedfr")
    save_file({"w": torch.ones(2)}, place / "other.safetensors")
    refused(place / "other.safetensors", r"other\.safetensors: weights fit no known backbone")
    (place / "g.onnx").write_bytes(b"x")
    refused(place / "g.onnx", r"is an ONNX graph, .* evaluate it with `fedfr evaluate")
    refused(place / "none.pth", "do not exist")
    torch.save(BranchModule().state_dict(), place / "bce_module.pth")
    refused(place / "bce_module.pth", "fit no known backbone")
    torch.save(torch.ones(3, 4), place / "fc.pth")
    refused(place / "fc.pth", "contain no table of tensors")
    torch.save(STATE | {FIRST: torch.full_like(STATE[FIRST], torch.nan)}, place / "nan.pth")
    refused(place / "nan.pth", f"hold NaN or infinity in {FIRST}")


def test_a_detector_is_refused(models_dir: Path, place: Path) -> None:
    (place / "detector.pth").write_bytes((models_dir / "face_detection_yunet_2023mar_int8bq.onnx").read_bytes())
    refused(place / "detector.pth", r"detector\.pth cannot be read")


class Evil:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder / "ran"),)


@pytest.mark.parametrize("name", ["backbone.pth", "bce_module.pth", "fc.pth"])
def test_a_malicious_pickle_is_refused_and_not_run(client: Path, name: str) -> None:
    torch.save({"fc": Evil(client), "state_dict": {"weight": Evil(client)}}, client / name)
    refused(client, rf"{name} cannot be read \(.*not tensors\)")
    refused(client / name, rf"{name} cannot be read")
    with pytest.raises(FedfrError, match="cannot be read"):
        inspect_model(client / name)
    with pytest.raises(FedfrError, match="cannot be read"):
        open_model(client / name)
    assert not (client / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", ["backbone.pth", "bce_module.pth", "fc.pth"])
def test_files_truncated_anywhere(client: Path, name: str, zipped: bool) -> None:
    """64 places of every file of a client, in the present and the old format of torch.save."""
    content = torch.load(client / name, weights_only=True)
    torch.save(content, client / name, _use_new_zipfile_serialization=zipped)
    whole = (client / name).read_bytes()
    for place in range(64):
        (client / name).write_bytes(whole[: len(whole) * place // 64])
        with pytest.raises(FedfrError, match=rf"{name} cannot be read") as caught:
            inspect_model(client / name)
        assert "\n" not in str(caught.value)
    refused(client, rf"{name} cannot be read")
    refused(client / name, rf"{name} cannot be read")


def test_a_model_truncated_at_every_byte(place: Path) -> None:
    tensors = {
        "backbone.a": torch.ones(3),
        "dfc.branches.weight": torch.ones(2, 3),
        "private_prototypes": torch.ones(2, 3),
    }
    contract = Contract(NAME, 3, BACKBONES[NAME].preprocessing, "space", "personalized")
    small = place / "small.safetensors"
    save_model(small, tensors, contract)
    assert inspect_model(small)["branches"] == 2
    whole = small.read_bytes()
    assert len(whole) < 2000
    for end in range(len(whole)):
        small.write_bytes(whole[:end])
        with pytest.raises(FedfrError, match=r"small\.safetensors"):
            inspect_model(small)


def test_a_full_disk(weights: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        refused(weights, r"cannot write .*made\.safetensors: File too large; free space")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert import_weights(weights, weights.with_name("made.safetensors")).path.is_file()


def test_an_unwritable_destination(weights: Path) -> None:
    with pytest.raises(FedfrError, match=r"cannot write /proc/m\.safetensors"):
        import_weights(weights, Path("/proc/m.safetensors"))
