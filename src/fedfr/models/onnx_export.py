"""Export of networks to ONNX: a single file with a contract, and its quantization to 8-bit integers."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedfr.core.errors import FedfrError, WriteError
from fedfr.core.telemetry import disable_telemetry
from fedfr.models.checkpoint import Contract
from fedfr.models.onnx_contract import graph_digest, with_contract

__all__ = ["INPUT", "OUTPUT", "export_onnx", "quantize_onnx"]

INPUT, OUTPUT = "faces", "features"
_OPSET = 18
_BATCH = 8


class _WholeCrop(nn.Module):
    """A network that takes whole crops and cuts the columns that it uses itself."""

    def __init__(self, network: nn.Module, columns: tuple[int, int]) -> None:
        super().__init__()
        self.network, self.columns = network, columns

    def forward(self, faces: Tensor) -> Any:
        first, end = self.columns
        return self.network(faces if (first, end) == (0, faces.shape[3]) else faces[:, :, :, first:end])


def export_onnx(network: nn.Module, contract: Contract) -> bytes:
    """Return the content of an ONNX file of a network: ``faces`` (N, 3, 112, 112) to ``features`` (N, D), any N.

    The graph cuts the columns that the network uses; the remaining preprocessing is in the contract in the metadata.
    The same weights give the same bytes with the same releases of PyTorch and ONNX. Raises :class:`FedfrError` if these
    are not installed or PyTorch cannot export the network.
    """
    _import_onnx()
    height, width = contract.preprocessing.size
    module = _WholeCrop(network, contract.preprocessing.columns).eval()
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                (torch.zeros(2, 3, height, width),),
                dynamo=True,
                opset_version=_OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("count")},),
                verbose=False,
            )
        model: Any = None if program is None else program.model_proto
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise FedfrError(
            f"PyTorch cannot export {contract.backbone} to ONNX ({type(error).__name__}: {reason}); "
            "use the layout state-dict"
        ) from error
    return with_contract(
        _plain(model), replace(contract, preprocessing=replace(contract.preprocessing, columns=(0, width)))
    )


def quantize_onnx(content: bytes, contract: Contract, crops: NDArray[np.uint8]) -> bytes:
    """Return an exported ONNX file with weights and activations of 8-bit integers.

    The ranges of the activations are those of ``crops`` (N, 112, 112, 3), faces like those to be recognized. The
    features are those of another embedding space. Raises :class:`FedfrError` without crops.
    """
    _import_onnx()
    if not len(crops):
        raise FedfrError("there are no faces to calibrate 8-bit integers with; give at least one, better some hundred")
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    preprocessing = replace(contract.preprocessing, columns=(0, contract.preprocessing.size[1]))

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(np.array_split(crops, -(-len(crops) // _BATCH)))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self.batches, None)
            if batch is None:
                return None
            images = torch.from_numpy(np.ascontiguousarray(batch))
            return {INPUT: preprocessing.apply(images).contiguous().numpy()}

    try:
        with TemporaryDirectory() as folder, _quiet():
            source, ready, quantized = (Path(folder, f"{name}.onnx") for name in ("source", "ready", "quantized"))
            source.write_bytes(content)
            quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
            quantize_static(
                str(ready),
                str(quantized),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            made = _plain(onnx.load(str(quantized)))
    except OSError as error:
        raise WriteError(
            f"cannot write temporary files: {error.strerror or error}; free space or set TMPDIR"
        ) from error
    space = f"sha256:{graph_digest(made)[:16]}"
    return with_contract(made, replace(contract, preprocessing=preprocessing, embedding_space=space))


def _import_onnx() -> None:
    disable_telemetry(os.environ)
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ImportError as error:
        raise FedfrError(f"export to ONNX needs {error.name}; pip install 'fedfr[onnx-export]'") from error
    assert onnx, onnxruntime
    assert onnxscript


def _plain(model: Any) -> bytes:
    """Return a model without comments, which hold paths of this machine, in the same bytes every time."""
    for name in ("doc_string", "metadata_props", "producer_version"):
        model.ClearField(name)
    graph = model.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        for name in ("doc_string", "metadata_props"):
            part.ClearField(name)
    graph.name = "network"
    graph.ClearField("value_info")
    content: bytes = model.SerializeToString(deterministic=True)
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the exporter's notes, none of which concerns the user."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
