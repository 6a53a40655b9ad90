"""Import of weights from other projects: recognize the backbone, check it, write it with a contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fedfr.core.errors import FedfrError
from fedfr.core.short_repr import Brief
from fedfr.models.backbone_registry import BACKBONES
from fedfr.models.checkpoint import Contract, has_contract, save_model
from fedfr.models.entries import load_weights, recognize_backbone
from fedfr.models.foreign import load_backbone
from fedfr.models.model_parts import PERSONALIZED, ModelParts
from fedfr.models.released import read_released
from fedfr.models.user_preprocessing import NO_USER_PREPROCESSING, UserPreprocessing

__all__ = ["ROLES", "ImportedModel", "import_weights"]

ROLES = ("generic", PERSONALIZED)


@dataclass(frozen=True, repr=False)
class ImportedModel(Brief):
    """Result of an import: the file written, its contract, and the assumptions made.

    ``entries`` is the number of entries of the backbone in the source, ``parameters`` the number of its values,
    buffers included. ``identities`` is the number of prototypes or branches, 0 without either. ``assumed`` describes
    the input and how it is known. ``found`` describes the location of the backbone in the source and what was left out.

    >>> from pathlib import Path
    >>> from fedfr.models import Contract, ImportedModel, Preprocessing
    >>> contract = Contract("slimface", 512, Preprocessing(), "sha256:01")
    >>> made = ImportedModel(Path("model.safetensors"), Path("weights.pth"), contract, 1, 2, 0, assumed="its defaults")
    >>> made.contract.backbone
    'slimface'
    """

    path: Path
    source: Path
    contract: Contract
    entries: int
    parameters: int
    identities: int
    assumed: str
    found: str = ""


def import_weights(
    source: Path,
    destination: Path,
    *,
    backbone: str | None = None,
    role: str | None = None,
    user_preprocessing: UserPreprocessing = NO_USER_PREPROCESSING,
) -> ImportedModel:
    """Import the weights in ``source`` as a model with a contract, written to ``destination``, which must not exist.

    ``source``: a file of weights, or a folder of FedFR's released code. With ``backbone``, only this backbone is
    accepted. ``role`` is by default ``personalized`` with a DFC module and ``generic`` otherwise. Files of weights do
    not describe the expected input: it is that of the backbone, except for what ``user_preprocessing`` gives, and is
    written to the contract. Raises :class:`FedfrError` if anything is missing, damaged or unknown; nothing is written
    then.

    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from fedfr.models import build_backbone, import_weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save(build_backbone("mobilefacenet", seed=0).state_dict(), Path(folder, "weights.pth"))
    ...     made = import_weights(Path(folder, "weights.pth"), Path(folder, "model.safetensors"))
    >>> made.contract.backbone, made.contract.role
    ('mobilefacenet', 'generic')
    """
    if destination.suffix != ".safetensors":
        raise FedfrError(f"{destination} is not a name for a model; give one that ends with .safetensors")
    if destination.exists():
        raise FedfrError(f"{destination} exists already; choose another name or remove it")
    found, name, location = _read(source, backbone, user_preprocessing.entry)
    spec = BACKBONES[name]
    chosen_role = role or (PERSONALIZED if found.dfc else ROLES[0])
    if chosen_role not in ROLES:
        raise FedfrError(f"role is {chosen_role!r}; allowed are {' and '.join(ROLES)}; choose one of them")
    if found.dfc and chosen_role != PERSONALIZED:
        raise FedfrError(f"{source} contains a client's DFC module; leave out --role, or import backbone.pth alone")
    _check_length(source, found, spec.embedding_dim)
    parts = ModelParts(_complete(name, found.backbone), found.prototypes, found.dfc)
    preprocessing = user_preprocessing.over(spec.preprocessing)
    contract = Contract(name, spec.embedding_dim, preprocessing, parts.space(chosen_role), chosen_role)
    save_model(destination, parts.tensors(chosen_role), contract)
    matrix = parts.dfc.get("branches.weight", parts.prototypes)
    return ImportedModel(
        destination,
        source,
        contract,
        len(found.backbone),
        sum(tensor.numel() for tensor in parts.backbone.values() if tensor.is_floating_point()),
        0 if matrix is None else len(matrix),
        user_preprocessing.explain(preprocessing, spec.source),
        location,
    )


def _read(source: Path, backbone: str | None, entry: str | None) -> tuple[ModelParts, str, str]:
    """Return the parts of a model, the backbone's name, and a description of its location in the file."""
    if source.is_dir():
        if entry is not None:
            raise FedfrError(f"--entry needs a single file, and {source} is a folder; leave it out")
        parts = read_released(source)
        try:
            return parts, recognize_backbone(parts.backbone, backbone), ""
        except FedfrError as error:
            raise FedfrError(f"{source}: {error}") from error
    if source.suffix == ".onnx":
        raise FedfrError(
            f"{source} is an ONNX graph, which is evaluated directly and cannot be trained; "
            f"evaluate it with `fedfr evaluate {source} --faces FACES`, or import its .pth"
        )
    if has_contract(source):
        raise FedfrError(f"{source} already is a model of fedfr with a contract; use it directly")
    found = load_backbone(source, backbone, entry)
    return ModelParts(found.state), found.name, found.describe()


def _check_length(source: Path, found: ModelParts, dim: int) -> None:
    for what, matrix in (("prototypes", found.prototypes), ("branches", found.dfc.get("branches.weight"))):
        if matrix is not None and matrix.shape[1] != dim:
            raise FedfrError(
                f"{source} contains {what} of length {matrix.shape[1]} and a backbone of {dim}; give files of one model"
            )


def _complete(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``state`` in the order and types of its backbone, with the batch counters that old files lack."""
    with torch.device("meta"):
        module = BACKBONES[name].factory()
    module.to_empty(device="cpu")
    load_weights(module, state)
    return module.state_dict()
