"""A client's personalized model T_i ∘ f_i: a backbone of its own, and a transform of its features or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fedfr.core.errors import FedfrError
from fedfr.models.backbone_registry import BACKBONES
from fedfr.models.build import build_backbone
from fedfr.models.checkpoint import Contract
from fedfr.models.entries import load_weights
from fedfr.models.heads import Bottleneck
from fedfr.models.model_parts import PERSONALIZED, TRANSFORM, ModelParts

__all__ = ["Personalized"]


class Personalized(nn.Module):
    """The network of one client's personalized model (FedFR, section 3.5); without ``transform`` its backbone alone."""

    def __init__(self, backbone: nn.Module, transform: nn.Module | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.transform = transform

    def __repr__(self) -> str:
        own = "" if self.transform is None else f", {type(self.transform).__name__}"
        return f"{type(self).__name__}({type(self.backbone).__name__}{own})"

    @classmethod
    def of_parts(cls, parts: ModelParts, contract: Contract) -> Personalized:
        """The network that a file holds; raises :class:`FedfrError` when its entries are not those of the contract."""
        backbone = build_backbone(contract.backbone, 0)
        load_weights(backbone, parts.backbone)
        entries = parts.transform
        transform = _transform(entries, BACKBONES[contract.backbone].embedding_dim) if entries else None
        return cls(backbone, transform).eval()

    def forward(self, images: Any) -> Any:
        """Features of preprocessed images."""
        features = self.backbone(images)
        return features if self.transform is None else self.transform(features)

    def tensors(self) -> dict[str, Tensor]:
        """All that computes features, under the names of a model on disk.

        The branches of a DFC module are left out: they serve training alone, and the client's people can be recognized
        by them as by private prototypes.
        """
        transform = {} if self.transform is None else self.transform.state_dict()
        named = {f"{TRANSFORM}{name}": value for name, value in transform.items()}
        return ModelParts(self.backbone.state_dict(), dfc=named).network(PERSONALIZED)


def _transform(entries: Mapping[str, Tensor], dim: int) -> nn.Module:
    """A linear transform or a bottleneck, as its entries say."""
    # On the meta device: nothing is drawn from the global generator for values that are replaced anyway.
    with torch.device("meta"):
        module: nn.Module = nn.Linear(dim, dim) if {*entries} == {"weight", "bias"} else Bottleneck(dim)
    module.to_empty(device="cpu")
    try:
        load_weights(module, entries)
    except FedfrError as error:
        raise FedfrError(
            f"its feature transform is neither linear nor a bottleneck of {dim} values: {error}"
        ) from error
    return module
