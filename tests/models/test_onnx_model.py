"""Recognition networks in ONNX files: from PyTorch's exporter, built by hand, and a detector."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from fedfr.core.errors import FedfrError
from fedfr.faces import import_folder
from fedfr.models import (
    Preprocessing,
    UserPreprocessing,
    build_backbone,
    inspect_model,
    load_foreign,
    load_weights,
    open_model,
)
from fedfr.models.onnx_graph import read_graph
from fedfr.models.onnx_model import OnnxBackbone
from fedfr.training.features import Compute, extract_features
from fedfr.training.training_set import TrainingSet

IMAGES = torch.rand(6, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1
FIRST = (3, 112, 112)
LAST = (112, 112, 3)


def written(
    path: Path,
    side: tuple[str | int, ...] = FIRST,
    *,
    batch: str | int = "N",
    kind: int = TensorProto.FLOAT,
    before: tuple[str, ...] = (),
    transposed: bool = False,
    flat: bool = True,
    outputs: int = 1,
) -> Path:
    """A graph by hand: operations ``before``, mean colours of 28×28 patches, flattened to (N, 48)."""
    nodes, name = [], "data"
    for number, operation in enumerate(before):
        more = ["half"] if operation in {"Sub", "Mul"} else []
        nodes.append(helper.make_node(operation, [name, *more], [f"b{number}"]))
        name = f"b{number}"
    if transposed:
        nodes.append(helper.make_node("Transpose", [name], ["t"], perm=[0, 3, 1, 2]))
        name = "t"
    nodes.append(helper.make_node("AveragePool", [name], ["p"], kernel_shape=[28, 28], strides=[28, 28]))
    if flat:
        nodes.append(helper.make_node("Flatten", ["p"], ["fc1"]))
    names = ["fc1" if flat else "p", "p" if flat else "data"][:outputs]
    half = helper.make_tensor("half", kind, [1], [0.5])
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("data", kind, [batch, *side])],
        [helper.make_tensor_value_info(each, kind, None) for each in names],
        [half],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def exported(path: Path, module: nn.Module) -> Path:
    """By PyTorch's exporter, any number of faces at a time."""
    axes = {"data": {0: "N"}, "fc1": {0: "N"}}
    with warnings.catch_warnings():
        # The exporter that needs no more than onnx is called legacy.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (torch.zeros(2, 3, 112, 112),),
            str(path),
            dynamo=False,
            input_names=["data"],
            output_names=["fc1"],
            dynamic_axes=axes,
        )
    return path


def patches(images: Tensor) -> Tensor:
    return nn.functional.avg_pool2d(images, 28).flatten(1)


@pytest.mark.parametrize(
    ("side", "batch", "transposed"),
    [
        (FIRST, "N", False),
        (FIRST, 1, False),
        (FIRST, 4, False),
        ((3, "H", "W"), "N", False),
        (LAST, "N", True),
        (LAST, 1, True),
    ],
    ids=["any", "one", "four", "any-size", "nhwc", "nhwc-one"],
)
def test_layouts_and_numbers_of_faces(
    tmp_path: Path, side: tuple[str | int, ...], batch: str | int, transposed: bool
) -> None:
    network = OnnxBackbone(written(tmp_path / "g räph.onnx", side, batch=batch, transposed=transposed))
    assert network.embedding_dim == 48
    torch.testing.assert_close(network(IMAGES), patches(IMAGES))


def test_half_precision(tmp_path: Path) -> None:
    network = OnnxBackbone(written(tmp_path / "g.onnx", kind=TensorProto.FLOAT16))
    features = network(IMAGES)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, patches(IMAGES), rtol=0, atol=1e-3)


def test_a_trained_network_on_real_faces(models_dir: Path, data_dir: Path, tmp_path: Path) -> None:
    """The published MobileFaceNet through PyTorch's exporter gives the features of PyTorch on real faces."""
    backbone = build_backbone("mobilefacenet-112x96", seed=0)
    load_weights(backbone, load_foreign(models_dir / "mobilefacenet_casia.ckpt"))

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = backbone

        def forward(self, x: Tensor) -> Tensor:
            features: Tensor = self.inner(x[:, :, :, 8:104])
            return features

    opened = open_model(exported(tmp_path / "m.onnx", Cut()), UserPreprocessing(std=128.0))
    assert opened.preprocessing == Preprocessing(std=128.0)
    people = tmp_path / "people"
    people.mkdir()
    for person in sorted(path for path in (data_dir / "lfw112").iterdir() if len(list(path.iterdir())) >= 4)[:8]:
        (people / person.name).symlink_to(person)
    training_set = TrainingSet([(import_folder(people), None, 0)])
    assert len(training_set) >= 32
    device = torch.device("cpu")
    mine = extract_features(opened.network, training_set, Compute(opened.preprocessing, device))
    theirs = extract_features(backbone, training_set, Compute(Preprocessing(std=128.0, columns=(8, 104)), device))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_assumed_input(tmp_path: Path) -> None:
    plain, scaling = written(tmp_path / "p.onnx"), written(tmp_path / "s.onnx", before=("Sub", "Mul"))
    assert open_model(plain).preprocessing == Preprocessing()
    with pytest.raises(FedfrError, match="begins with Sub, Mul, which leaves the scale of its input open; give it"):
        open_model(scaling)
    opened = open_model(scaling, UserPreprocessing(colour="BGR", mean=127.5, std=(128.0, 128.0, 128.0)))
    assert opened.preprocessing == Preprocessing(colour="BGR", std=128.0)
    assert "colour, mean, std as given" in opened.assumed
    with pytest.raises(FedfrError, match="colour is 'GBR'; allowed are RGB and BGR"):
        open_model(plain, UserPreprocessing(colour="GBR"))
    with pytest.raises(FedfrError, match=r"std is 0\.5; it is in grey levels 0 … 255"):
        open_model(plain, UserPreprocessing(mean=0.5, std=0.5))


def test_colours_reach_the_graph_in_the_stated_order(tmp_path: Path) -> None:
    path = written(tmp_path / "g.onnx")
    red = torch.zeros(1, 112, 112, 3, dtype=torch.uint8)
    red[..., 0] = 255
    for colour, place in (("RGB", 0), ("BGR", 2)):
        opened = open_model(path, UserPreprocessing(colour=colour))
        features = Compute(opened.preprocessing, torch.device("cpu")).features(opened.network, red)
        assert features.view(3, 16).mean(1).tolist() == [1.0 if row == place else -1.0 for row in range(3)]


def test_the_graph_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "g.onnx", before=("Sub", "Mul", "Relu"))
    operations = ["Sub", "Mul", "Relu", "AveragePool", "Flatten"]
    assert [node.op_type for node in onnx.load(path).graph.node] == operations
    graph = read_graph(path)
    assert [node.operation for node in graph.nodes] == operations
    assert {name: value.tolist() for name, value in graph.constants.items()} == {"half": [0.5]}
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert len(read_graph(path).nodes) in (0, 5), "a graph that is not whole tells nothing"


@pytest.mark.parametrize(
    ("side", "batch"),
    [((3, 112, 96), "N"), ((3, 640, 640), 1), ((1, 112, 112), "N"), (("C", 112, 112), "N"), ((112, 112), "N")],
    ids=["narrow", "detector", "grey", "colours-unknown", "rank-3"],
)
def test_other_input(tmp_path: Path, side: tuple[str | int, ...], batch: str | int) -> None:
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["data"], ["fc1"])],
        "g",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [batch, *side])],
        [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(
        FedfrError, match=r"its inputs are data tensor\(float\) \[.*\]; allowed is one input of floats"
    ) as caught:
        OnnxBackbone(tmp_path / "g.onnx")
    assert "\n" not in str(caught.value)


def test_a_detector_is_refused(models_dir: Path) -> None:
    path = models_dir / "face_detection_yunet_2023mar_int8bq.onnx"
    with pytest.raises(
        FedfrError, match=r"recognition network: its inputs are input tensor\(float\) \[1, 3, 640, 640\]"
    ):
        open_model(path)
    with pytest.raises(FedfrError, match="not a face recognition network"):
        inspect_model(path)


def test_other_output(tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match="has 2 outputs; allowed is one"):
        OnnxBackbone(written(tmp_path / "two.onnx", outputs=2))
    with pytest.raises(FedfrError, match=r"for 1 faces it returns float32 \(1, 3, 4, 4\); allowed are floats \(N, D\)"):
        OnnxBackbone(written(tmp_path / "map.onnx", flat=False))


def test_nan_and_infinity(tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match=r"log\.onnx returns NaN or infinity for faces; give the scaling"):
        OnnxBackbone(written(tmp_path / "log.onnx", before=("Log",)))
    network = OnnxBackbone(written(tmp_path / "sqrt.onnx", before=("Sqrt",)))
    with pytest.raises(FedfrError, match=r"sqrt\.onnx returns NaN or infinity for faces; give the scaling"):
        network(IMAGES)


def test_truncated_at_every_byte(tmp_path: Path) -> None:
    path = written(tmp_path / "g.onnx")
    whole = path.read_bytes()
    assert 100 < len(whole) < 1000
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(FedfrError, match=r"g\.onnx cannot be read \(.*it may be truncated") as caught:
            OnnxBackbone(path)
        assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "pickle.onnx")
    with pytest.raises(FedfrError, match=r"pickle\.onnx cannot be read"):
        OnnxBackbone(tmp_path / "pickle.onnx")
    with pytest.raises(FedfrError, match="does not exist"):
        OnnxBackbone(tmp_path / "none.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(FedfrError, match="does not exist"):
        OnnxBackbone(tmp_path / "folder.onnx")


def test_weights_in_another_file(tmp_path: Path) -> None:
    """External weights of an ONNX file; a missing file is a one-line error."""
    module = nn.Sequential(nn.AvgPool2d(28), nn.Flatten(), nn.Linear(48, 64))
    path = exported(tmp_path / "g.onnx", module)
    onnx.save_model(onnx.load(path), path, save_as_external_data=True, location="beside.data", size_threshold=0)
    torch.testing.assert_close(OnnxBackbone(path)(IMAGES), module(IMAGES).detach())
    (tmp_path / "beside.data").unlink()
    with pytest.raises(FedfrError, match=r"g\.onnx cannot be read") as caught:
        OnnxBackbone(path)
    assert "\n" not in str(caught.value)


def test_without_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "g.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(FedfrError, match=r"g\.onnx needs onnxruntime; pip install 'fedfr\[onnx\]'"):
        open_model(path)


def test_facts(tmp_path: Path) -> None:
    path = written(tmp_path / "g.onnx", LAST, batch=4, transposed=True, before=("Sub", "Mul"))
    facts = inspect_model(path)
    assert (facts["kind"], facts["embedding_dim"], facts["takes"]) == ("ONNX graph", 48, "(N, 112, 112, 3)")
    assert facts["faces_at_a_time"] == 4
    assert facts["input"] is None
    assert "give it: --mean 127.5 --std 127.5 for −1 … 1" in facts["why"]
    assert inspect_model(written(path))["input"].endswith("RGB; (x − 127.5) / 127.5")
    assert np.isfinite(facts["bytes"])
