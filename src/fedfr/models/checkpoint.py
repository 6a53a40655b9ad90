"""Model files: safetensors with a contract in the header that describes the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fedfr.core.errors import FedfrError
from fedfr.core.files import parse_json, write_atomically
from fedfr.models.preprocessing import Preprocessing

__all__ = ["CONTRACT_KEY", "Contract", "embedding_space", "has_contract", "load_model", "save_model"]

CONTRACT_KEY = "fedfr"
_FORMAT = 1


@dataclass(frozen=True)
class Contract:
    """Description of a model: the properties in which two models must agree to be compared, averaged or exchanged.

    ``embedding_space`` identifies the space of the features; scores between features of two spaces are meaningless.
    ``role`` describes the tensors, for instance ``generic`` or ``personalized``; it is not compared.

    >>> from fedfr.models import Contract, Preprocessing
    >>> contract = Contract("slimface", 512, Preprocessing(), "sha256:0123456789abcdef")
    >>> contract.require(contract)  # raises FedfrError for a model that does not match
    >>> Contract.from_metadata(contract.to_metadata()) == contract
    True
    """

    backbone: str
    embedding_dim: int
    preprocessing: Preprocessing
    embedding_space: str
    role: str = "generic"

    def require(self, other: Contract) -> None:
        """Raise :class:`FedfrError` that names the first field, other than ``role``, in which ``other`` differs."""
        for field in fields(self):
            own, others = getattr(self, field.name), getattr(other, field.name)
            if field.name != "role" and own != others:
                own, others = (
                    value.describe() if isinstance(value, Preprocessing) else value for value in (own, others)
                )
                raise FedfrError(
                    f"models do not fit together: {field.name} is {own!r} in one and {others!r} in the other; "
                    "use models of the same training"
                )

    def to_metadata(self) -> dict[str, Any]:
        """Return the contract as JSON values for the header of a model file."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"preprocessing": self.preprocessing.to_metadata(), "format": _FORMAT}

    def to_json(self) -> str:
        """Return the contract as JSON text, as it is written to a model file."""
        return json.dumps(self.to_metadata(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Contract:
        """Inverse of :meth:`to_json`; raises :class:`FedfrError` if the text is damaged."""
        try:
            content = parse_json(text)
        except ValueError as error:
            raise FedfrError("its contract is not readable; write the model again") from error
        if not isinstance(content, dict):
            raise FedfrError("its contract is not a JSON object; write the model again")
        return cls.from_metadata(content)

    @classmethod
    def from_metadata(cls, metadata: dict[str, Any]) -> Contract:
        """Inverse of :meth:`to_metadata`; raises :class:`FedfrError` if an entry is missing or invalid."""
        if metadata.get("format") != _FORMAT:
            raise FedfrError(
                f"model format is {metadata.get('format')!r}; this version reads {_FORMAT}; "
                "use the version that wrote it"
            )
        try:
            return cls(
                backbone=str(metadata["backbone"]),
                embedding_dim=int(metadata["embedding_dim"]),
                preprocessing=Preprocessing.from_metadata(metadata["preprocessing"]),
                embedding_space=str(metadata["embedding_space"]),
                role=str(metadata["role"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FedfrError(f"the model's contract cannot be read ({error!r}); write the model again") from error


def embedding_space(tensors: Mapping[str, Tensor]) -> str:
    """Return the identifier of the embedding space of a network with these weights, a hash of all weights.

    Two models have the same embedding space exactly if all their weights are equal.

    >>> import torch
    >>> from fedfr.models import embedding_space
    >>> embedding_space({"weight": torch.zeros(2)}) == embedding_space({"weight": torch.ones(2)})
    False
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"sha256:{digest.hexdigest()[:16]}"


def save_model(path: Path, tensors: Mapping[str, Tensor], contract: Contract) -> None:
    """Write ``tensors`` and ``contract`` to ``path`` atomically. The tensors may be on any device.

    Raises :class:`~fedfr.core.errors.WriteError` if the file cannot be written.

    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from fedfr.models import Contract, Preprocessing, load_model, save_model
    >>> contract = Contract("slimface", 512, Preprocessing(), "sha256:0123456789abcdef")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(Path(folder, "model.safetensors"), {"weight": torch.ones(2)}, contract)
    ...     load_model(Path(folder, "model.safetensors"))[0]
    {'weight': tensor([1., 1.])}
    """
    # clone(): safetensors refuses tensors that share memory, such as tied weights and views.
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    metadata = {CONTRACT_KEY: contract.to_json()}
    write_atomically(path, lambda temporary: save_file(plain, temporary, metadata))


def has_contract(path: Path) -> bool:
    """Return whether a file has the header of a model written by fedfr; False if it cannot be read."""
    if not path.is_file():  # opening a pipe would block
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return CONTRACT_KEY in (file.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        return False


def load_model(path: Path) -> tuple[dict[str, Tensor], Contract]:
    """Read a model file written by :func:`save_model`: its tensors, on the CPU, and its contract.

    Raises :class:`FedfrError` if the file is missing, truncated, not a safetensors file, without a contract, or
    contains NaN or infinity.

    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from fedfr.models import Contract, Preprocessing, load_model, save_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "model.safetensors")
    ...     save_model(path, {"weight": torch.ones(2)}, Contract("slimface", 512, Preprocessing(), "sha256:01"))
    ...     tensors, contract = load_model(path)
    >>> contract.backbone, contract.role
    ('slimface', 'generic')
    """
    if not path.is_file():
        raise FedfrError(f"model {path} does not exist; check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise FedfrError(
            f"model {path} is not a complete safetensors file ({error}); it may be truncated, fetch or train it again"
        ) from error
    if CONTRACT_KEY not in metadata:
        raise FedfrError(
            f"model {path} has no readable contract in its header; only models written by fedfr have one, "
            "import foreign weights instead"
        )
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise FedfrError(f"model {path} holds NaN or infinity in {name}; use a model of an earlier round")
    try:
        return tensors, Contract.from_json(metadata[CONTRACT_KEY])
    except FedfrError as error:
        raise FedfrError(f"model {path}: {error}") from error
