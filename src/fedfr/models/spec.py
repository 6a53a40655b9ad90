"""Specification of a backbone in the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from fedfr.models.preprocessing import Preprocessing

__all__ = ["BackboneSpec"]

_FULL = Preprocessing()


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone: its factory, the length of its features, and the preprocessing it expects.

    ``source`` documents the preprocessing, because files of published weights do not describe it.

    >>> import torch
    >>> from fedfr.models import BackboneSpec
    >>> spec = BackboneSpec(lambda: torch.nn.Flatten(), embedding_dim=3 * 112 * 112)
    >>> spec.factory()(torch.zeros(1, 3, 112, 112)).shape
    torch.Size([1, 37632])
    """

    factory: Callable[[], nn.Module]
    embedding_dim: int = 512
    preprocessing: Preprocessing = _FULL
    source: str = "fedfr's own training"
