"""Opening of model files: models of fedfr, weights of other projects, ONNX graphs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from fedfr.core.errors import FedfrError
from fedfr.core.short_repr import Brief
from fedfr.models.backbone_registry import BACKBONES
from fedfr.models.build import build_backbone
from fedfr.models.checkpoint import Contract, has_contract, load_model
from fedfr.models.entries import load_weights
from fedfr.models.foreign import load_backbone
from fedfr.models.model_parts import PERSONALIZED, ModelParts
from fedfr.models.onnx_model import OnnxBackbone, onnx_assumption
from fedfr.models.personalized_model import Personalized
from fedfr.models.preprocessing import Preprocessing
from fedfr.models.user_preprocessing import NO_USER_PREPROCESSING, UserPreprocessing

__all__ = ["OpenedModel", "network_of", "open_model"]


@dataclass(frozen=True, repr=False)
class OpenedModel(Brief):
    """A network that maps preprocessed images to features, with its preprocessing and role.

    ``assumed`` names the source of the preprocessing if it is not in a contract, and is empty otherwise. ``backbone``
    is the name in the registry; empty for an ONNX graph of unknown origin.

    >>> import torch
    >>> from fedfr.models import OpenedModel, Preprocessing, build_backbone
    >>> model = OpenedModel(build_backbone("slimface", seed=0).eval(), Preprocessing(), "generic")
    >>> images = torch.zeros(1, 112, 112, 3, dtype=torch.uint8)
    >>> with torch.no_grad():
    ...     model.network(model.preprocessing.apply(images)).shape
    torch.Size([1, 512])
    """

    network: nn.Module
    preprocessing: Preprocessing
    role: str
    assumed: str = ""
    backbone: str = ""


def open_model(
    path: str | os.PathLike[str], user_preprocessing: UserPreprocessing = NO_USER_PREPROCESSING
) -> OpenedModel:
    """Open the model in a file: ``.safetensors``, ``.onnx``, or a PyTorch file of weights.

    ``user_preprocessing`` gives the input of files without a contract. The network of a client's personalized model is
    its backbone followed by its transform. Raises :class:`FedfrError` if the file is missing, damaged or not a model,
    or if ``user_preprocessing`` is given for a file with a contract.

    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from fedfr.models import build_backbone, open_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save(build_backbone("mobilefacenet", seed=0).state_dict(), Path(folder, "weights.pth"))
    ...     model = open_model(Path(folder, "weights.pth"))
    >>> model.role, model.preprocessing.describe()
    ('generic', '112×112 crops aligned to arcface-112; RGB; (x − 127.5) / 127.5')
    """
    file = Path(path)
    return _OPENERS.get(file.suffix, _foreign)(file, user_preprocessing)


def _own(path: Path, user_preprocessing: UserPreprocessing) -> OpenedModel:
    if path.is_file() and not has_contract(path):
        return _foreign(path, user_preprocessing)
    tensors, contract = load_model(path)
    if user_preprocessing.entry is not None:
        raise FedfrError(f"{path} is a model of fedfr, with one backbone; leave out --entry")
    _refuse_preprocessing(path, contract, user_preprocessing)
    try:
        BACKBONES.named_in_file(contract.backbone)
        network = network_of(ModelParts.of_model(tensors, contract), contract)
    except FedfrError as error:
        raise FedfrError(f"model {path}: {error}") from error
    return OpenedModel(network, contract.preprocessing, contract.role, backbone=contract.backbone)


def _refuse_preprocessing(path: Path, contract: Contract, user_preprocessing: UserPreprocessing) -> None:
    if user_preprocessing.names:
        raise FedfrError(
            f"{path} has a contract that states its input ({contract.preprocessing.describe()}); leave out "
            f"{', '.join(f'--{name}' for name in user_preprocessing.names)}, or import the weights again with them"
        )


def network_of(parts: ModelParts, contract: Contract) -> nn.Module:
    """Build the network from the parts of a model; raises :class:`FedfrError` if entries do not match."""
    if contract.role == PERSONALIZED:
        return Personalized.of_parts(parts, contract)
    backbone = build_backbone(contract.backbone, 0)
    load_weights(backbone, parts.backbone)
    return backbone


def _foreign(path: Path, user_preprocessing: UserPreprocessing) -> OpenedModel:
    found = load_backbone(path, entry=user_preprocessing.entry)
    backbone = build_backbone(found.name, 0)
    load_weights(backbone, found.state)
    spec, more = BACKBONES[found.name], found.describe()
    what = f"{path} contains {found.name}" + (f" ({more})" if more else "")
    return _assumed(backbone, user_preprocessing, spec.preprocessing, spec.source, what, found.name)


def _onnx(path: Path, user_preprocessing: UserPreprocessing) -> OpenedModel:
    network = OnnxBackbone(path)
    contract = network.contract
    if contract is not None:
        _refuse_preprocessing(path, contract, user_preprocessing)
        return OpenedModel(network, contract.preprocessing, contract.role, backbone=contract.backbone)
    return _assumed(
        network,
        user_preprocessing,
        *onnx_assumption(network, user_preprocessing),
        f"{path} returns {network.embedding_dim} values per face",
    )


def _assumed(
    network: nn.Module,
    user_preprocessing: UserPreprocessing,
    assumed: Preprocessing,
    source: str,
    what: str,
    name: str = "",
) -> OpenedModel:
    preprocessing = user_preprocessing.over(assumed)
    explained = user_preprocessing.explain(preprocessing, source)
    notice = f"{what}; input: {explained}; change it with --colour, --mean, --std"
    return OpenedModel(network, preprocessing, "generic", notice, name)


_OPENERS: Mapping[str, Callable[[Path, UserPreprocessing], OpenedModel]] = {".safetensors": _own, ".onnx": _onnx}
