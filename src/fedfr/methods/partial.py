"""Base of methods that share a part of the backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field

from fedfr.core.errors import FedfrError
from fedfr.federation.method import Method, MethodSettings

__all__ = ["PartialSettings", "PartialSharing", "last_layers"]


class PartialSettings(MethodSettings):
    """Number ``last_layers`` of layers with a weight matrix or kernel, from the end, that are treated separately."""

    last_layers: Annotated[int, Field(ge=1)] = 1


def last_layers(entries: Mapping[str, torch.Tensor], count: int) -> frozenset[str]:
    """Return the names of the entries of the last ``count`` layers and of the layers after each (BatchNorm, PReLU).

    A layer is an entry of two or more dimensions; the last one is the embedding. Raises :class:`FedfrError` when
    ``count`` covers the whole backbone.
    """
    names = list(entries)
    layers = [number for number, value in enumerate(entries.values()) if value.dim() >= 2]
    if count >= len(layers):
        raise FedfrError(
            f"method.last_layers = {count} covers the whole backbone, which has {len(layers)} layers; use fewer"
        )
    return frozenset(names[layers[-count] :])


class PartialSharing(Method):
    """Base of methods that share one end of the backbone and keep the other local; there is no generic model."""

    generic_model = None
    settings: PartialSettings

    def last(self, entries: Mapping[str, torch.Tensor]) -> frozenset[str]:
        """Return the entries of the last layers."""
        return last_layers(entries, self.settings.last_layers)
