"""Export to ONNX: equal features, the contract in the file, and nothing in it but the network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.photograph_files import texture
from torch import nn

from fedfr.core.errors import FedfrError
from fedfr.models import (
    DFC,
    LAYOUTS,
    Contract,
    ModelParts,
    ModelSource,
    Preprocessing,
    UserPreprocessing,
    build_backbone,
    inspect_model,
    open_model,
    save_model,
)
from fedfr.models.network_files import network_space, save_network
from fedfr.models.onnx_contract import graph_digest, onnx_contract, with_contract
from fedfr.models.onnx_export import export_onnx, quantize_onnx
from fedfr.recognition import Embedder

pytest.importorskip("onnxscript")

CROPS = np.stack([texture(112, 112, seed) for seed in range(5)])
BACKBONE = "slimface-small"
CONTRACT = Contract(BACKBONE, 128, Preprocessing(colour="BGR", std=128.0), "", "personalized")
HALF = Preprocessing(columns=(8, 104), std=128.0)


def parts() -> ModelParts:
    """A personalized model whose prototypes, branches and normalization layers have values that occur nowhere else."""
    generator = torch.Generator().manual_seed(3)
    backbone = build_backbone(BACKBONE, 0).state_dict()
    for name, value in backbone.items():
        if value.is_floating_point() and value.ndim == 1:
            backbone[name] = torch.rand(value.shape, generator=generator) + 0.5
    prototypes = torch.randn(3, 128, generator=generator)
    dfc = {name: torch.randn(value.shape, generator=generator) / 9 for name, value in DFC(3, 128).state_dict().items()}
    return ModelParts(backbone, prototypes, dfc)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, ModelParts]:
    """A model, its ONNX file, and its parts."""
    folder, model = tmp_path_factory.mktemp("exported"), parts()
    contract = replace(CONTRACT, embedding_space=model.space(CONTRACT.role))
    save_model(folder / "model.safetensors", model.tensors(CONTRACT.role), contract)
    LAYOUTS["onnx"](ModelSource("m", model, CONTRACT.role, contract), folder / "model.onnx")
    return folder / "model.safetensors", folder / "model.onnx", model


def features(path: Path, crops: Any = CROPS) -> torch.Tensor:
    model = open_model(path)
    with torch.no_grad():
        found: torch.Tensor = model.network.eval()(model.preprocessing.apply(torch.from_numpy(crops)))
    return nn.functional.normalize(found)


def test_features_are_equal_for_any_number_of_faces(exported: tuple[Path, Path, ModelParts]) -> None:
    for crops in (CROPS[:1], CROPS):
        torch.testing.assert_close(features(exported[1], crops), features(exported[0], crops), atol=1e-4, rtol=0)


def test_the_file_says_what_it_takes(exported: tuple[Path, Path, ModelParts]) -> None:
    source, graph, model = exported
    opened, original = open_model(graph), open_model(source)
    assert (opened.preprocessing, opened.role, opened.assumed) == (original.preprocessing, original.role, "")
    with pytest.raises(FedfrError, match=r"has a contract that states its input .* leave out --std"):
        open_model(graph, UserPreprocessing(std=127.5))
    properties = inspect_model(graph)
    assert (properties["input_known_from"], properties["backbone"]) == ("its contract", BACKBONE)
    assert properties["embedding_space"] == model.space(original.role)
    assert (properties["takes"], properties["faces_at_a_time"]) == ("(N, 3, 112, 112)", "any number")


def test_the_file_holds_the_network_alone(exported: tuple[Path, Path, ModelParts]) -> None:
    """Not a row of a prototype or branch, no path, and the transform of a personalized model."""
    content, model = exported[1].read_bytes(), exported[2]
    private = [model.prototypes, *(value for name, value in model.dfc.items() if name.startswith("branches"))]
    rows = [row for value in private if value is not None for row in value.reshape(-1, value.shape[-1])]
    assert len(rows) >= 3
    assert not any(row.numpy().tobytes() in content for row in rows)
    assert all(value.numpy().tobytes() in content for value in model.transform.values())
    for text in ("branches", "prototypes", ".py", str(Path.cwd()), str(exported[1].parent)):
        assert text.encode() not in content


def test_the_space_is_that_of_the_graph(exported: tuple[Path, Path, ModelParts], tmp_path: Path) -> None:
    source, graph, _ = exported
    plain, embedder = Embedder.open(source), Embedder.open(graph)
    assert embedder.space != plain.space
    assert (embedder.dim, embedder.model_role, embedder.model_notice) == (128, "personalized", "")
    np.testing.assert_allclose(embedder.features(CROPS), plain.features(CROPS), atol=1e-4)
    copy = embedder.save_model(tmp_path / "models")
    assert copy.suffix == ".onnx"
    assert copy.read_bytes() == graph.read_bytes()
    assert Embedder.open(copy).space == embedder.space


def test_integers_have_a_space_of_their_own(exported: tuple[Path, Path, ModelParts], tmp_path: Path) -> None:
    _, graph, _ = exported
    path = tmp_path / "int8.onnx"
    path.write_bytes(quantize_onnx(graph.read_bytes(), CONTRACT, CROPS))
    assert path.stat().st_size < graph.stat().st_size / 2
    written, original = onnx_contract(path.read_bytes()), onnx_contract(graph.read_bytes())
    assert written is not None
    assert original is not None
    assert written == replace(original, embedding_space=written.embedding_space)
    assert written.embedding_space != original.embedding_space
    assert network_space(open_model(path)) != network_space(open_model(graph))
    cosines = (features(path) * features(graph)).sum(dim=1)
    assert bool((cosines > 0.9).all())
    assert bool((cosines < 0.99999).any())
    with pytest.raises(FedfrError, match="no faces to calibrate"):
        quantize_onnx(graph.read_bytes(), CONTRACT, CROPS[:0])


class Head(nn.Module):
    """Takes the middle 96 columns only."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 8, (112, 96), bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layer(images).flatten(1)
        return features


@pytest.fixture(scope="module")
def head() -> tuple[nn.Module, bytes]:
    network = Head().eval()
    return network, export_onnx(network, Contract("mobilefacenet-112x96", 8, HALF, "sha256:0"))


def test_the_same_weights_give_the_same_bytes(head: tuple[nn.Module, bytes]) -> None:
    contract = onnx_contract(head[1])
    assert contract is not None
    assert export_onnx(head[0], replace(contract, preprocessing=HALF)) == head[1]


def test_columns_are_cut_by_the_graph(head: tuple[nn.Module, bytes], tmp_path: Path) -> None:
    network, content = head
    (tmp_path / "m.onnx").write_bytes(content)
    assert open_model(tmp_path / "m.onnx").preprocessing == Preprocessing(std=128.0)
    with torch.no_grad():
        wanted = network(HALF.apply(torch.from_numpy(CROPS)))
    torch.testing.assert_close(features(tmp_path / "m.onnx"), nn.functional.normalize(wanted), atol=1e-4, rtol=0)


def test_a_foreign_graph_keeps_the_preprocessing_given_by_the_user(
    head: tuple[nn.Module, bytes], tmp_path: Path
) -> None:
    from onnx import load_from_string

    model = load_from_string(head[1])
    del model.metadata_props[:]
    (tmp_path / "foreign.onnx").write_bytes(model.SerializeToString())
    opened = open_model(tmp_path / "foreign.onnx", UserPreprocessing(colour="BGR"))
    assert opened.assumed
    save_network(opened, tmp_path / "copy.onnx")
    again = open_model(tmp_path / "copy.onnx")
    assert (again.assumed, again.preprocessing) == ("", Preprocessing(colour="BGR"))
    assert network_space(again) == network_space(opened)
    assert network_space(opened) != network_space(open_model(tmp_path / "foreign.onnx"))
    assert graph_digest((tmp_path / "copy.onnx").read_bytes()) == graph_digest((tmp_path / "foreign.onnx").read_bytes())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-1], "its contract is not readable"),
        (lambda text: "[]", "its contract is not a JSON object"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "model format is 2"),
        (lambda text: text.replace('"embedding_dim": 8', '"embedding_dim": 9'), "a contract of 9 values per face"),
        (lambda text: text.replace('"std": 128.0', '"std": 0'), "std"),
        (lambda text: json.dumps({**json.loads(text), "preprocessing": "none"}), "cannot be read"),
    ],
)
def test_a_damaged_contract(head: tuple[nn.Module, bytes], tmp_path: Path, damage: Any, message: str) -> None:
    from onnx import load_from_string

    model = load_from_string(head[1])
    model.metadata_props[0].value = damage(model.metadata_props[0].value)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FedfrError, match=message) as refused:
        open_model(path)
    assert str(path) in str(refused.value)


def test_several_contracts(head: tuple[nn.Module, bytes], tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(head[1] + with_contract(b"", CONTRACT))
    with pytest.raises(FedfrError, match="it has 2 contracts"):
        open_model(tmp_path / "m.onnx")


def test_a_network_that_cannot_be_exported() -> None:
    class Undecided(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1) if float(images.sum()) > 0 else images.mean((2, 3))

    with pytest.raises(FedfrError, match="PyTorch cannot export slimface-small to ONNX") as refused:
        export_onnx(Undecided(), CONTRACT)
    assert len(str(refused.value)) < 500
