"""Files with the network of a model alone: without the prototypes and branches of training."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_file, write_atomically
from fedfr.models.checkpoint import Contract, embedding_space, save_model
from fedfr.models.onnx_contract import graph_digest, with_contract
from fedfr.models.onnx_graph import MAX_BYTES, has_external_data
from fedfr.models.onnx_model import OnnxBackbone
from fedfr.models.opened_model import OpenedModel
from fedfr.models.personalized_model import Personalized

__all__ = ["network_space", "network_suffix", "save_network"]

_UNUSED = "num_batches_tracked"
_LENGTH = 16


def network_space(model: OpenedModel, purpose: str = "") -> str:
    """Return the identifier of the space of a model's features, a hash of all that determines them.

    That are the weights of the network or the ONNX graph, the preprocessing, and ``purpose``: how features are
    computed from the network's output. Prototypes, branches and counters of batches do not count.

    >>> from fedfr.models import OpenedModel, Preprocessing, build_backbone
    >>> from fedfr.models.network_files import network_space
    >>> network = build_backbone("slimface-small", seed=0)
    >>> one, other = (OpenedModel(network, Preprocessing(std=std), "generic") for std in (127.5, 128.0))
    >>> network_space(one) == network_space(other)
    False
    """
    if isinstance(model.network, OnnxBackbone):
        weights = graph_digest(_content(model.network.path))
    else:
        state = model.network.state_dict()
        weights = embedding_space({name: value for name, value in state.items() if not name.endswith(_UNUSED)})
    parts = (weights, model.backbone, model.preprocessing.to_metadata(), purpose)
    return f"sha256:{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:_LENGTH]}"


def save_network(model: OpenedModel, path: Path) -> None:
    """Write the network of a model, with a contract, to ``path``: ``.onnx`` for a graph, ``.safetensors`` for others.

    The file holds only what computes features: no prototypes, and no branches of a personalized model. Raises
    :class:`FedfrError` for another suffix, and for a graph whose weights are in other files.
    """
    network = model.network
    suffix = network_suffix(model)
    if path.suffix != suffix:
        raise FedfrError(f"{path} is not a name for this model; give one that ends with {suffix}")
    if isinstance(network, OnnxBackbone):
        content = _content(network.path)
        if has_external_data(content):
            raise FedfrError(f"{network.path} has weights in other files; write the graph as a single file")
        if network.contract is None:
            contract = Contract(
                model.backbone, network.embedding_dim, model.preprocessing, network_space(model), model.role
            )
            content = with_contract(content, contract)
        write_atomically(path, content)
        return
    tensors = network.tensors() if isinstance(network, Personalized) else network.state_dict()
    with torch.inference_mode():
        blank = torch.zeros(1, *model.preprocessing.size, 3, dtype=torch.uint8)
        dim = int(network.eval()(model.preprocessing.apply(blank)).shape[1])
    contract = Contract(model.backbone, dim, model.preprocessing, embedding_space(tensors), model.role)
    save_model(path, tensors, contract)


def network_suffix(model: OpenedModel) -> str:
    """Return the suffix of a model's file: ``.onnx`` for a graph, ``.safetensors`` for others."""
    return ".onnx" if isinstance(model.network, OnnxBackbone) else ".safetensors"


def _content(path: Path) -> bytes:
    try:
        return read_file(path, MAX_BYTES)
    except OSError as error:
        raise FedfrError(f"cannot read the model {path}: {error.strerror or error}; check the file") from error
