"""Personalized model T_i ∘ f_i of a client: its backbone and an optional transform of the features."""

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
    """Network of one client's personalized model: backbone, then ``transform`` if there is one.

    FedFR (arXiv 2112.12496), decoupled feature customization.

    >>> import torch
    >>> from fedfr.models import Personalized
    >>> model = Personalized(backbone=torch.nn.Flatten(), transform=torch.nn.ReLU())
    >>> model(torch.tensor([[[1.0, -1.0]]]))
    tensor([[1., 0.]])
    """

    def __init__(self, backbone: nn.Module, transform: nn.Module | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.transform = transform

    def __repr__(self) -> str:
        own = "" if self.transform is None else f", {type(self.transform).__name__}"
        return f"{type(self).__name__}({type(self.backbone).__name__}{own})"

    @classmethod
    def of_parts(cls, parts: ModelParts, contract: Contract) -> Personalized:
        """Build the network from the parts of a model file; raises :class:`FedfrError` if entries do not match."""
        backbone = build_backbone(contract.backbone, 0)
        load_weights(backbone, parts.backbone)
        entries = parts.transform
        transform = _transform(entries, BACKBONES[contract.backbone].embedding_dim) if entries else None
        return cls(backbone, transform).eval()

    def forward(self, images: Any) -> Any:
        """Map preprocessed images (N, 3, H, W) to features (N, D)."""
        features = self.backbone(images)
        return features if self.transform is None else self.transform(features)

    def tensors(self) -> dict[str, Tensor]:
        """Return the entries of the network, named as in a model file.

        The branches of a DFC module are left out: they are used in training only, and like private prototypes they
        would reveal the client's identities.
        """
        transform = {} if self.transform is None else self.transform.state_dict()
        named = {f"{TRANSFORM}{name}": value for name, value in transform.items()}
        return ModelParts(self.backbone.state_dict(), dfc=named).network(PERSONALIZED)


def _transform(entries: Mapping[str, Tensor], dim: int) -> nn.Module:
    """Build a linear transform or a bottleneck from its entries."""
    # On the meta device, no random numbers are drawn for values that are replaced anyway.
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
