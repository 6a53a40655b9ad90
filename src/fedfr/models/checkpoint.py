"""Models on disk: safetensors with a contract in the header that says what the weights are for."""

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
from fedfr.core.files import write_atomically
from fedfr.models.preprocessing import Preprocessing

__all__ = ["Contract", "embedding_space", "has_contract", "load_model", "save_model"]

_KEY = "fedfr"
_FORMAT = 1


@dataclass(frozen=True)
class Contract:
    """What must agree before two models may be compared, averaged or exchanged.

    ``embedding_space`` names the training the features come from: scores across two spaces mean nothing.
    ``role`` is ``generic``, ``personalized`` or another word for what the tensors are; it is not compared.
    """

    backbone: str
    embedding_dim: int
    preprocessing: Preprocessing
    embedding_space: str
    role: str = "generic"

    def require(self, other: Contract) -> None:
        """Raise :class:`FedfrError` naming the first field, other than ``role``, in which ``other`` differs."""
        for field in fields(self):
            mine, others = getattr(self, field.name), getattr(other, field.name)
            if field.name != "role" and mine != others:
                mine, others = (
                    value.describe() if isinstance(value, Preprocessing) else value for value in (mine, others)
                )
                raise FedfrError(
                    f"models do not fit together: {field.name} is {mine!r} in one and {others!r} in the other; "
                    "use models of the same training"
                )

    def to_metadata(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"preprocessing": self.preprocessing.to_metadata(), "format": _FORMAT}

    @classmethod
    def from_metadata(cls, metadata: dict[str, Any]) -> Contract:
        """The inverse of :meth:`to_metadata`; raises :class:`FedfrError` when an entry is missing or wrong."""
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
    """Name of the space these weights put features in: two models share it exactly when every weight is equal."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"sha256:{digest.hexdigest()[:16]}"


def save_model(path: Path, tensors: Mapping[str, Tensor], contract: Contract) -> None:
    """Write ``tensors`` and ``contract`` to ``path``, whole or not at all. The tensors may be on any device."""
    # clone(): safetensors refuses tensors that share memory, as tied weights and views do.
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    metadata = {_KEY: json.dumps(contract.to_metadata(), sort_keys=True)}
    write_atomically(path, lambda temporary: save_file(plain, temporary, metadata))


def has_contract(path: Path) -> bool:
    """Whether a file is a model that this project wrote, whole or not; a file that cannot be read has none."""
    if not path.is_file():  # of a pipe the first bytes would be waited for
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return _KEY in (file.metadata() or {})
    except (SafetensorError, OSError, ValueError):
        return False


def load_model(path: Path) -> tuple[dict[str, Tensor], Contract]:
    """Read what :func:`save_model` wrote; tensors are on the CPU.

    Raises :class:`FedfrError` when the file is missing, truncated, no safetensors file, or has no contract.
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
            f"model {path} is not a whole safetensors file ({error}); it may be truncated, fetch or train it again"
        ) from error
    try:
        content = json.loads(metadata[_KEY])
    except (KeyError, json.JSONDecodeError) as error:
        raise FedfrError(
            f"model {path} has no readable contract in its header; only models written by fedfr have one, "
            "import foreign weights instead"
        ) from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise FedfrError(f"model {path} holds NaN or infinity in {name}; use a model of an earlier round")
    if not isinstance(content, dict):
        raise FedfrError(f"model {path} has a contract that is no JSON object; write the model again")
    try:
        return tensors, Contract.from_metadata(content)
    except FedfrError as error:
        raise FedfrError(f"model {path}: {error}") from error
