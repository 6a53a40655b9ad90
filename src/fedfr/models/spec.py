"""What the registry of backbones names: how one is made, and what it expects and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from fedfr.models.preprocessing import Preprocessing

__all__ = ["BackboneSpec"]

_FULL = Preprocessing()


@dataclass(frozen=True)
class BackboneSpec:
    """How a backbone is made, the length of its feature, and the input it expects.

    ``source`` says where the knowledge of that input comes from: files of published weights do not tell it.
    """

    factory: Callable[[], nn.Module]
    embedding_dim: int = 512
    preprocessing: Preprocessing = _FULL
    source: str = "what this project trains it with"
