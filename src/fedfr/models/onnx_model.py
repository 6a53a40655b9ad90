"""Evaluation of face recognition networks in ONNX files, with checks of their input and output."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_file
from fedfr.core.telemetry import disable_telemetry
from fedfr.models.checkpoint import Contract
from fedfr.models.onnx_contract import onnx_contract
from fedfr.models.onnx_graph import MAX_BYTES, check_tensors, read_graph
from fedfr.models.onnx_scaling import GREY, SIGNED, UNIT, input_scaling
from fedfr.models.preprocessing import Preprocessing
from fedfr.models.user_preprocessing import UserPreprocessing

__all__ = ["OnnxBackbone", "OnnxInput", "onnx_assumption"]

_SIDE = 112
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}
_SCALINGS = {SIGNED: (127.5, 127.5), UNIT: (0.0, 255.0), GREY: (0.0, 1.0)}


@dataclass(frozen=True)
class OnnxInput:
    """Input of a graph: its name, whether colours are the second or the last dimension, its type, and its batch size.

    ``batch`` is 0 where any number of faces is accepted.
    """

    name: str
    channels_first: bool
    dtype: Any
    batch: int

    @classmethod
    def of(cls, session: Any, path: Path) -> OnnxInput:
        """Read the input of a session; raises :class:`FedfrError` unless it is one batch of 112×112 colour faces."""
        inputs = session.get_inputs()
        found = ", ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
        wrong = FedfrError(
            f"{path} is not a face recognition network: its inputs are {found or 'none'}; allowed is one input of "
            "floats or bytes, "
            f"(N, 3, {_SIDE}, {_SIDE}) or (N, {_SIDE}, {_SIDE}, 3); give another model"
        )
        if len(inputs) != 1 or inputs[0].type not in _TYPES or len(inputs[0].shape) != 4:
            raise wrong
        only = inputs[0]
        layouts = [
            first
            for first, wanted in ((True, (3, _SIDE, _SIDE)), (False, (_SIDE, _SIDE, 3)))
            # A dimension with a name instead of a number accepts any size; the number of colours must be given.
            if all(
                given == size or (isinstance(given, str | None) and size != 3)
                for given, size in zip(only.shape[1:], wanted, strict=True)
            )
        ]
        if len(layouts) != 1:
            raise wrong
        batch = only.shape[0] if isinstance(only.shape[0], int) else 0
        return cls(only.name, layouts[0], _TYPES[only.type], batch)


class OnnxBackbone(nn.Module):
    """The network in an ONNX file as a backbone: (N, 3, 112, 112) to (N, D), float32, on the CPU.

    ``contract`` is that of an exported model, None for other graphs. It uses as many threads as PyTorch. Raises
    :class:`FedfrError` when onnxruntime is not installed, the file is damaged or is not a face recognition network, and
    when a feature is NaN or infinity.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._session, self._errors = _open(path)
        self.contract = _contract(path)
        try:
            self.input = OnnxInput.of(self._session, path)
            outputs = self._session.get_outputs()
        except UnicodeDecodeError as error:
            raise FedfrError(f"{path} cannot be read (a name in it is not UTF-8); fetch it again") from error
        if len(outputs) != 1:
            raise FedfrError(
                f"{path} is not a face recognition network: it has {len(outputs)} outputs; allowed is one, the "
                "features (N, D); give another model"
            )
        # The declared shape of the output may be wrong, so it is measured with one grey face.
        self.embedding_dim: int = self(torch.zeros(1, 3, _SIDE, _SIDE)).shape[1]
        if self.contract is not None and self.contract.embedding_dim != self.embedding_dim:
            raise FedfrError(
                f"{path} has a contract of {self.contract.embedding_dim} values per face and returns "
                f"{self.embedding_dim}; export the model again"
            )

    def forward(self, images: Tensor) -> Tensor:
        """Return features (N, D) of preprocessed faces (N, 3, 112, 112)."""
        values = images.numpy()
        if not self.input.channels_first:
            values = values.transpose(0, 2, 3, 1)
        if self.input.dtype is np.uint8 and values.size and (values.min() < 0 or values.max() > 255):
            raise FedfrError(f"{self.path} expects bytes, grey levels 0 … 255; leave out --mean and --std")
        values = np.ascontiguousarray(values, self.input.dtype)
        size = self.input.batch or max(len(values), 1)
        parts = [self._run(values[start : start + size], size) for start in range(0, len(values), size)]
        return torch.from_numpy(np.concatenate(parts))

    def _run(self, values: Any, size: int) -> Any:
        count = len(values)
        if self.input.batch and count < size:
            # A batch of fixed size is filled up with copies of the last face.
            values = np.concatenate([values, values[-1:].repeat(size - count, axis=0)])
        try:
            (features,) = self._session.run(None, {self.input.name: values})
        except self._errors as error:
            raise FedfrError(f"{self.path} cannot be run ({_reason(error)}); give another model") from error
        features = np.asarray(features)
        if features.ndim != 2 or len(features) != len(values) or features.dtype.kind != "f" or features.shape[1] < 2:
            raise FedfrError(
                f"{self.path} is not a face recognition network: for {len(values)} faces it returns {features.dtype} "
                f"{features.shape}; allowed are floats (N, D), one feature per face; give another model"
            )
        if not np.isfinite(features).all():
            raise FedfrError(
                f"{self.path} returns NaN or infinity for faces; give the scaling it was trained with "
                "(--mean, --std, --colour) or give another model"
            )
        return features[:count].astype(np.float32)


def onnx_assumption(network: OnnxBackbone, user_preprocessing: UserPreprocessing) -> tuple[Preprocessing, str]:
    """Return the preprocessing that a recognition network most likely expects, and the source of that assumption.

    InsightFace's rule: RGB, (x − 127.5) / 127.5. For a graph that scales faces itself, its constants decide between
    grey levels 0 … 255 and 0 … 1. Raises :class:`FedfrError` where the graph does not determine the range, or reverses
    the order of the colours, unless ``user_preprocessing`` gives it.
    """
    path = network.path
    scaling = input_scaling(read_graph(path), network.input.name)
    if scaling.reverses_colours and user_preprocessing.colour is None:
        raise FedfrError(
            f"{path} reverses the order of the colours before its first layer, so its input order is unknown; "
            "give it: --colour BGR if its own code passes images as OpenCV reads them, otherwise --colour RGB"
        )
    input_range = GREY if network.input.dtype is np.uint8 else scaling.input_range
    if input_range is None and (user_preprocessing.mean is None or user_preprocessing.std is None):
        raise FedfrError(
            f"{path} begins with {', '.join(scaling.operations)}, which leaves the scale of its input open; give it: "
            "--mean 127.5 --std 127.5 for −1 … 1, --mean 0 --std 255 for 0 … 1, --mean 0 --std 1 for grey levels"
        )
    mean, std = _SCALINGS[input_range or SIGNED]
    preprocessing = Preprocessing(mean=mean, std=std)
    if scaling.operations:
        return (
            preprocessing,
            f"the graph, which scales {input_range or 'faces'} itself ({', '.join(scaling.operations)})",
        )
    return preprocessing, "InsightFace's rule for its models (model_zoo/arcface_onnx.py)"


def _contract(path: Path) -> Contract | None:
    """Return the contract of an exported model; None for other graphs."""
    try:
        return onnx_contract(read_file(path, MAX_BYTES))
    except OSError as error:
        raise FedfrError(f"{path} cannot be read ({error}); check the file") from error
    except FedfrError as error:
        raise FedfrError(f"{path}: {error}") from error


def _open(path: Path) -> tuple[Any, tuple[type[Exception], ...]]:
    if not path.is_file():
        raise FedfrError(f"model {path} does not exist; check the path")
    disable_telemetry(os.environ)
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError as error:
        raise FedfrError(f"{path} needs onnxruntime; pip install 'fedfr[onnx]'") from error
    # The exceptions of onnxruntime have no common base class.
    kinds = (kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
    # For a damaged file its message may not be valid UTF-8.
    errors: tuple[type[Exception], ...] = (*kinds, UnicodeDecodeError)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        check_tensors(path)
    except (OSError, ValueError) as error:
        raise FedfrError(f"{path} cannot be read ({error}); it may be truncated, fetch it again") from error
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]), errors
    except errors as error:
        raise FedfrError(f"{path} cannot be read ({_reason(error)}); it may be truncated, fetch it again") from error


def _reason(error: Exception) -> str:
    # The reason follows "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from … failed:".
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : ", "", " ".join(str(error).split()))
    return re.sub(r" : Load model from .* failed: ?", ": ", text).rstrip(".")
