"""Small files that declare gigabytes: refused before memory is allocated."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from tests.support.fuzz.bounds import bounded

from fedfr.core.errors import FedfrError
from fedfr.models.foreign import load_foreign
from fedfr.models.foreign_files import read_tensors
from fedfr.models.onnx_model import OnnxBackbone
from fedfr.training.feature_blocks import FeatureBlocks


def expanded(path: Path) -> None:
    torch.save({"w": torch.ones(1).expand(1_800_000_000)}, path)


def repeated(path: Path) -> None:
    values = torch.ones(100_000)
    torch.save({str(number): values for number in range(10_000)}, path)


def in_tables(path: Path) -> None:
    torch.save({"optimizer": {"state": [{"w": torch.ones(1).expand(1 << 16, 1 << 15)}]}}, path)


def old_format(path: Path) -> None:
    torch.save({"w": torch.ones(1).expand(1_800_000_000)}, path, _use_new_zipfile_serialization=False)


def packed(path: Path) -> None:
    whole = io.BytesIO()
    torch.save({"w": torch.zeros(100_000_000)}, whole)
    with zipfile.ZipFile(whole) as given, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for each in given.infolist():
            made.writestr(each.filename, given.read(each))


@pytest.mark.parametrize("make", [expanded, repeated, in_tables, old_format, packed])
def test_weights_of_gigabytes_in_a_small_file(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    make(path)
    assert path.stat().st_size < 1_000_000
    for read in (load_foreign, read_tensors):
        with bounded(512), pytest.raises(FedfrError, match=r"w\.pth cannot be read \(its \d+ bytes (would|describe)"):
            read(path)


def test_weights_that_share_their_values_are_read(tmp_path: Path) -> None:
    shared = torch.randn(512, 512)
    torch.save({"a": shared, "b": shared.T, "c": shared[3], "step": 4}, tmp_path / "w.pth")
    content = read_tensors(tmp_path / "w.pth")
    assert isinstance(content, dict)
    assert torch.equal(content["b"], shared.T)


def network(path: Path, **changed: Any) -> None:
    """Write a valid network with a changed constant, or with a node before it."""
    fields: dict[str, Any] = {"name": "half", "data_type": TensorProto.FLOAT, "dims": [1], "vals": [0.5], **changed}
    tensor = helper.make_tensor(fields["name"], fields["data_type"], [1], [0.5])
    tensor.dims[:] = fields["dims"]
    nodes = [
        helper.make_node("Mul", ["data", "half"], ["m"]),
        helper.make_node("AveragePool", ["m"], ["p"], kernel_shape=[28, 28], strides=[28, 28]),
        helper.make_node("Flatten", ["p"], ["fc1"]),
    ]
    constants = [tensor]
    if "made" in fields:
        constants.append(helper.make_tensor("sides", TensorProto.INT64, [2], fields["made"]))
        nodes.insert(0, helper.make_node("ConstantOfShape", ["sides"], ["unused"]))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, 112, 112])],
        [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, None)],
        constants,
    )
    if "location" in fields:
        del graph.initializer[0].float_data[:]
        graph.initializer[0].data_location = TensorProto.EXTERNAL
        for key, value in (("location", str(fields["location"])), ("offset", "0"), ("length", "4")):
            graph.initializer[0].external_data.add(key=key, value=value)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_graphs_that_declare_or_compute_gigabytes(tmp_path: Path) -> None:
    path = tmp_path / "models" / "n.onnx"
    path.parent.mkdir()
    (tmp_path / "secret.bin").write_bytes(struct.pack("<f", 0.5))
    (path.parent / "w.bin").write_bytes(struct.pack("<f", 0.5))
    network(path)
    assert OnnxBackbone(path).embedding_dim == 48
    network(path, location="w.bin")
    assert OnnxBackbone(path).embedding_dim == 48
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"dims": [1 << 33]}, "it claims a tensor of 8589934592 values, which the file does not contain"),
        ({"dims": [1 << 40, 1 << 40]}, "it claims a tensor of 1099511627776x1099511627776 values"),
        ({"made": [1 << 16, 1 << 17]}, "its ConstantOfShape would create 8589934592 values"),
        ({"location": "../secret.bin"}, "it names '../secret.bin', which is in another folder"),
        ({"location": tmp_path / "secret.bin"}, "secret.bin', which is in another folder"),
        ({"location": "gone.bin"}, "it names 'gone.bin', which does not exist"),
    )
    for changed, reason in cases:
        network(path, **changed)
        with bounded(512), pytest.raises(FedfrError, match=rf"n\.onnx cannot be read \(.*{reason}"):
            OnnxBackbone(path)


def test_stored_features_that_declare_gigabytes_are_recomputed(tmp_path: Path) -> None:
    blocks = FeatureBlocks(tmp_path / "kept", 3, {"of": "a"})
    made = [np.ones((3, 4), np.float32)]
    assert [part.tolist() for part in blocks.blocks(lambda first, stop: made[0])] == [made[0].tolist()]
    with zipfile.ZipFile(tmp_path / "kept" / "000000.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (3, 1 << 28)})
        with archive.open("features.npy", "w") as member:
            member.write(header.getvalue())
            for _ in range(256):
                member.write(bytes(1 << 20))
    with bounded(128):
        assert [part.tolist() for part in blocks.blocks(lambda first, stop: made[0])] == [made[0].tolist()]
