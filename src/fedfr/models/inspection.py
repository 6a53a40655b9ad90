"""Inspection of weights files: format, backbone, preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fedfr.core.errors import FedfrError
from fedfr.models.backbone_registry import BACKBONES
from fedfr.models.checkpoint import has_contract, load_model
from fedfr.models.foreign import find_backbone, state_of
from fedfr.models.foreign_files import read_tensors
from fedfr.models.foreign_heads import load_foreign_dfc, load_foreign_prototypes
from fedfr.models.model_parts import PERSONALIZED, ModelParts
from fedfr.models.onnx_model import OnnxBackbone, onnx_assumption
from fedfr.models.user_preprocessing import NO_USER_PREPROCESSING

__all__ = ["inspect_model"]

Properties = dict[str, Any]


def inspect_model(path: Path) -> Properties:
    """Describe a model file or weights file as JSON values: kind, backbone, feature length, input and other properties.

    ``input`` is the preprocessing in the contract, or an assumption; ``input_known_from`` names its source.
    Raises :class:`FedfrError` if the file is missing, damaged or contains anything but weights.

    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from fedfr.models import inspect_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"fc": torch.eye(4)}, Path(folder, "fc.pth"))
    ...     properties = inspect_model(Path(folder, "fc.pth"))
    >>> properties["kind"], properties["prototypes"], properties["embedding_dim"]
    ('prototypes', 4, 4)
    """
    if path.is_dir():
        raise FedfrError(f"{path} is a folder; give one of the files in it")
    properties = _READERS.get(path.suffix, _weights)(path)
    return {"file": str(path), "bytes": path.stat().st_size, **properties}


def _safetensors(path: Path) -> Properties:
    if not has_contract(path):
        return _weights(path)
    tensors, contract = load_model(path)
    parts = ModelParts.of_model(tensors, contract)
    properties: Properties = {
        "kind": "model of fedfr",
        "backbone": contract.backbone,
        "embedding_dim": contract.embedding_dim,
        "role": contract.role,
        "embedding_space": contract.embedding_space,
        "input": contract.preprocessing.describe(),
        "input_known_from": "its contract",
        "entries": len(tensors),
        "parameters": _count(parts.backbone),
        "prototypes": 0 if parts.prototypes is None else len(parts.prototypes),
    }
    if contract.role == PERSONALIZED:
        names = {*parts.transform}
        properties["transform"] = "none" if not names else "linear" if names == {"weight", "bias"} else "bottleneck"
        properties["branches"] = len(parts.dfc.get("branches.weight", ()))
        properties["private"] = "belongs to one client; keep it only where that client's faces may be kept"
    return properties


def _weights(path: Path) -> Properties:
    content = read_tensors(path)
    if isinstance(content, Tensor) or (isinstance(content, Mapping) and list(content) == ["fc"]):
        prototypes = load_foreign_prototypes(path)
        return {"kind": "prototypes", "prototypes": len(prototypes), "embedding_dim": prototypes.shape[1]}
    try:
        found = find_backbone(content, path)
    except FedfrError as error:
        return _no_backbone(path, content, error)
    spec = BACKBONES[found.name]
    properties: Properties = {
        "kind": "weights",
        "entries": len(found.state) + len(found.unused),
        "parameters": _count(found.state),
    }
    place = {"backbone_at": found.entry} if found.entry else {}
    more = {name: list(each) for name, each in (("left_out", found.unused), ("also_at", found.alternatives)) if each}
    return properties | {
        "backbone": found.name,
        **place,
        **more,
        "embedding_dim": spec.embedding_dim,
        "input": spec.preprocessing.describe(),
        "input_known_from": f"assumed from {spec.source}",
    }


def _no_backbone(path: Path, content: object, why: FedfrError) -> Properties:
    try:
        state = state_of(content, path)
    except FedfrError:
        raise why from None
    if any(name.startswith("converter.") for name in state):
        module = load_foreign_dfc(path)
        branches = module.branches.weight
        return {"kind": "DFC module", "branches": len(branches), "embedding_dim": branches.shape[1]}
    properties: Properties = {"kind": "weights", "entries": len(state), "parameters": _count(state)}
    return properties | {"backbone": None, "why": str(why).removeprefix(f"{path}: ")}


def _onnx(path: Path) -> Properties:
    network = OnnxBackbone(path)
    return {
        "kind": "ONNX graph",
        "embedding_dim": network.embedding_dim,
        "takes": "(N, 3, 112, 112)" if network.input.channels_first else "(N, 112, 112, 3)",
        "faces_at_a_time": network.input.batch or "any number",
        **_onnx_input(network),
    }


def _onnx_input(network: OnnxBackbone) -> Properties:
    contract = network.contract
    if contract is not None:
        return {
            "backbone": contract.backbone,
            "role": contract.role,
            "embedding_space": contract.embedding_space,
            "input": contract.preprocessing.describe(),
            "input_known_from": "its contract",
        }
    try:
        preprocessing, source = onnx_assumption(network, NO_USER_PREPROCESSING)
    except FedfrError as error:
        return {"input": None, "why": str(error)}
    return {"input": preprocessing.describe(), "input_known_from": f"assumed from {source}"}


def _count(state: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in state.values() if tensor.is_floating_point())


_READERS: Mapping[str, Callable[[Path], Properties]] = {".safetensors": _safetensors, ".onnx": _onnx}
