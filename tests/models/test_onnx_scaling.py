"""Input scaling of ONNX graphs, inside or outside the graph: equal features, or refused until stated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from fedfr.core.errors import FedfrError
from fedfr.models import NO_USER_PREPROCESSING, Preprocessing, UserPreprocessing, open_model
from fedfr.training.features import Compute

IMAGES = torch.randint(0, 256, (4, 112, 112, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SQUARES = np.random.default_rng(0).standard_normal((8, 3, 28, 28)).astype(np.float32) / 28
Step = tuple[str, list[Any], dict[str, Any]]


def step(operation: str, *constants: Any, **attributes: Any) -> Step:
    """A node; ``c-`` before its operation: the constant comes first."""
    return operation, list(constants), attributes


def graph(path: Path, *steps: Step, last: bool = False, kind: int = TensorProto.FLOAT, nodes: bool = False) -> Path:
    """``steps`` before one convolution; their constants as initializers, or as ``nodes``; colours ``last``."""
    made: list[Any] = []
    constants: list[Any] = []
    name = "data"
    for operation, values, attributes in steps:
        inputs = []
        for value in values:
            array = value if isinstance(value, np.ndarray) else np.asarray(value, np.float32)
            constants.append(numpy_helper.from_array(array, f"c{len(constants)}"))
            inputs.append(constants[-1].name)
            if nodes:
                made.append(helper.make_node("Constant", [], inputs[-1:], value=constants[-1]))
        inputs = [*inputs, name] if operation.startswith("c-") else [name, *inputs]
        name = f"y{len(made)}"
        made.append(helper.make_node(operation.removeprefix("c-"), inputs, [name], **attributes))
    if last:
        made.append(helper.make_node("Transpose", [name], ["t"], perm=[0, 3, 1, 2]))
        name = "t"
    made.append(helper.make_node("Conv", [name, "weights"], ["p"], strides=[28, 28]))
    made.append(helper.make_node("Flatten", ["p"], ["f"]))
    side = [112, 112, 3] if last else [3, 112, 112]
    whole = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("data", kind, ["N", *side])],
        [helper.make_tensor_value_info("f", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(SQUARES, "weights"), *([] if nodes else constants)],
    )
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def features(path: Path, user_preprocessing: UserPreprocessing = NO_USER_PREPROCESSING) -> torch.Tensor:
    opened = open_model(path, user_preprocessing)
    return Compute(opened.preprocessing, torch.device("cpu")).features(opened.network, IMAGES)


def assert_equal(mine: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-3)


def colours(*values: float) -> Any:
    return np.array(values, np.float32).reshape(1, 3, 1, 1)


def batch_norm(mean: float, deviation: float, scale: float = 1.0, bias: float = 0.0) -> Step:
    return step("BatchNormalization", *(np.full(3, each, np.float32) for each in (scale, bias, mean, deviation**2)))


def depthwise(slope: float, offset: float) -> Step:
    return step("Conv", np.full((3, 1, 1, 1), slope, np.float32), np.full(3, offset, np.float32), group=3)


SPELLINGS: dict[str, Sequence[Step]] = {
    "sub-mul": [step("Sub", 127.5), step("Mul", 1 / 127.5)],
    "sub-div": [step("Sub", np.array([127.5], np.float32)), step("Div", 127.5)],
    "div-add": [step("Div", 127.5), step("Add", -1.0)],
    "div-sub": [step("Div", colours(127.5, 127.5, 127.5)), step("Sub", 1.0)],
    "mul-add": [step("Mul", 1 / 127.5), step("c-Add", -1.0)],
    "255-half": [step("Mul", 1 / 255), step("Sub", 0.5), step("Div", 0.5)],
    "cast": [step("Cast", to=TensorProto.FLOAT), step("Sub", 127.5), step("Mul", 1 / 127.5)],
    "mean-image": [step("Sub", np.full((3, 112, 112), 127.5, np.float32)), step("Mul", 1 / 127.5)],
    "batch-norm": [batch_norm(127.5, 127.5)],
    "sub-batch-norm": [step("Sub", 127.5), batch_norm(0.0, 127.5)],
    "statistics": [batch_norm(110.0, 60.0, 60 / 127.5, -17.5 / 127.5)],
    "depthwise": [depthwise(1 / 127.5, -1.0)],
    "unit": [step("Sub", 0.5), step("Div", 0.5)],
    "unit-mul": [step("Mul", 2.0), step("Sub", 1.0)],
    "unit-255": [step("Mul", 255.0), step("Sub", 127.5), step("Div", 127.5)],
    "signed": [step("Mul", 127.5), step("Add", 127.5), step("Sub", 127.5), step("Div", 127.5)],
    "signed-batch-norm": [batch_norm(0.0, 1.0)],
}


@pytest.mark.parametrize("nodes", [False, True], ids=["initializers", "nodes"])
@pytest.mark.parametrize("name", SPELLINGS)
def test_equal_features(tmp_path: Path, name: str, nodes: bool) -> None:
    path = graph(tmp_path / "g.onnx", *SPELLINGS[name], nodes=nodes)
    assert_equal(features(path), features(graph(tmp_path / "bare.onnx")))


@pytest.mark.parametrize("last", [False, True])
def test_a_value_of_each_colour(tmp_path: Path, last: bool) -> None:
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    expected = features(graph(tmp_path / "bare.onnx"), UserPreprocessing(mean=mean, std=std))
    shape = (3,) if last else (3, 1, 1)
    for unit in (1.0, 255.0):
        means, stds = (np.array(each, np.float32).reshape(shape) / np.float32(unit) for each in (mean, std))
        assert_equal(features(graph(tmp_path / "g.onnx", step("Sub", means), step("Div", stds), last=last)), expected)


def test_three_numbers_are_in_the_order_of_the_colours() -> None:
    three = Preprocessing(colour="BGR", mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 4.0))
    values = three.apply(IMAGES)
    blue_first = IMAGES.flip(3).permute(0, 3, 1, 2).float()
    expected = (blue_first - torch.tensor([10.0, 20, 30]).view(3, 1, 1)) / torch.tensor([1.0, 2, 4]).view(3, 1, 1)
    assert torch.equal(values, expected)
    assert Preprocessing.from_metadata(three.to_metadata()) == three
    assert three.describe().endswith("BGR; (x − (10, 20, 30)) / (1, 2, 4)")
    assert Preprocessing(mean=(127.5, 127.5, 127.5)) == Preprocessing()
    with pytest.raises(FedfrError, match="allowed are finite grey levels, std above 0, one or three"):
        Preprocessing(std=(1.0, 0.0, 1.0))


def test_bytes_are_grey_levels(tmp_path: Path) -> None:
    steps = [step("Cast", to=TensorProto.FLOAT), step("Sub", 127.5), step("Mul", 1 / 127.5)]
    path = graph(tmp_path / "g.onnx", *steps, kind=TensorProto.UINT8)
    assert_equal(features(path), features(graph(tmp_path / "bare.onnx")))
    with pytest.raises(FedfrError, match="expects bytes, grey levels 0 … 255; leave out --mean and --std"):
        features(path, UserPreprocessing(mean=127.5, std=127.5))


@pytest.mark.parametrize(
    "steps",
    [
        [step("Sub", 0.5)],
        [step("Mul", 2.0)],
        [step("Sqrt")],
        [step("c-Div", 127.5)],
        [step("c-Sub", 255.0), step("Div", 0.1)],
        [batch_norm(4.0, 3.0)],
        [step("Div", colours(127.5, 1.0, 127.5))],
    ],
)
def test_ambiguous_input_is_refused_until_it_is_stated(tmp_path: Path, steps: Sequence[Step]) -> None:
    # Without infinities of a zero input.
    path = graph(tmp_path / "g.onnx", step("Clip", 1e-6), *steps)
    with pytest.raises(FedfrError, match=r"leaves the scale of its input open; give it: --mean 127\.5") as caught:
        open_model(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(FedfrError, match="give it"):
        open_model(path, UserPreprocessing(mean=127.5))
    assert open_model(path, UserPreprocessing(mean=0.0, std=1.0)).preprocessing.std == 1.0


def test_a_graph_that_reverses_the_colours(tmp_path: Path) -> None:
    turned = step("Gather", np.array([2, 1, 0]), axis=1)
    path = graph(tmp_path / "g.onnx", turned, step("Sub", 127.5), step("Mul", 1 / 127.5))
    with pytest.raises(FedfrError, match=r"reverses the order of the colours .* give it: --colour BGR"):
        open_model(path)
    bare = graph(tmp_path / "bare.onnx")
    assert_equal(features(path, UserPreprocessing(colour="BGR")), features(bare))
    assert_equal(features(path, UserPreprocessing(colour="RGB")), features(bare, UserPreprocessing(colour="BGR")))
