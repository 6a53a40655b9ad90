"""Sharing a part of the backbone: which of its layers, counted from one end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field

from fedfr.core.errors import FedfrError
from fedfr.federation.method import Method, MethodSettings

__all__ = ["PartialSettings", "PartialSharing", "last_layers"]


class PartialSettings(MethodSettings):
    """``last_layers``: how many layers with a weight matrix or kernel, from the end, the method treats apart."""

    last_layers: Annotated[int, Field(ge=1)] = 1


def last_layers(entries: Mapping[str, torch.Tensor], count: int) -> frozenset[str]:
    """Names of the last ``count`` layers' entries, and of what stands behind each (BatchNorm, PReLU).

    A layer is an entry of two or more dimensions: the last one is the embedding. Raises :class:`FedfrError` when that
    would be the whole backbone.
    """
    names = list(entries)
    layers = [number for number, value in enumerate(entries.values()) if value.dim() >= 2]
    if count >= len(layers):
        raise FedfrError(
            f"method.last_layers = {count} is the whole backbone, which has {len(layers)} layers; give fewer"
        )
    return frozenset(names[layers[-count] :])


class PartialSharing(Method):
    """Base of methods that average one end of the backbone while every client keeps the other: no generic model."""

    generic_model = None
    settings: PartialSettings

    def last(self, entries: Mapping[str, torch.Tensor]) -> frozenset[str]:
        """The end nearest to the feature."""
        return last_layers(entries, self.settings.last_layers)
