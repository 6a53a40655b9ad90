"""Parts of a model: backbone, prototypes and DFC module, independent of the file format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fedfr.core.errors import FedfrError
from fedfr.core.short_repr import Brief
from fedfr.models.checkpoint import Contract, embedding_space

__all__ = ["PERSONALIZED", "PUBLIC_PROTOTYPES", "TRANSFORM", "ModelParts"]

PERSONALIZED = "personalized"
PUBLIC_PROTOTYPES, _PRIVATE_PROTOTYPES = "public_prototypes", "private_prototypes"
_BACKBONE, _DFC = "backbone.", "dfc."
TRANSFORM = "transform."


@dataclass(frozen=True, repr=False)
class ModelParts(Brief):
    """Entries of the parts of a model: backbone, prototypes and DFC module.

    ``prototypes`` (K, D) are the public ones for a generic model and the private ones for a client's, or None.
    ``dfc`` is empty for a generic model.

    >>> import torch
    >>> from fedfr.models import DFC, ModelParts
    >>> parts = ModelParts({"weight": torch.zeros(2)}, dfc=DFC(3, 8).state_dict())
    >>> sorted(parts.network("personalized"))
    ['backbone.weight', 'dfc.transform.bias', 'dfc.transform.weight']
    """

    backbone: Mapping[str, Tensor]
    prototypes: Tensor | None = None
    dfc: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of_model(cls, tensors: Mapping[str, Tensor], contract: Contract) -> ModelParts:
        """Split the tensors of a model file of fedfr; raises :class:`FedfrError` for unknown entries."""
        named = _prototypes_of(contract.role)
        rest = {name: value for name, value in tensors.items() if name != named}
        prototypes = tensors.get(named)
        if contract.role != PERSONALIZED:
            return cls(rest, prototypes)
        backbone, dfc = (
            {name.removeprefix(prefix): value for name, value in rest.items() if name.startswith(prefix)}
            for prefix in (_BACKBONE, _DFC)
        )
        unknown = [name for name in rest if not name.startswith((_BACKBONE, _DFC))]
        if unknown:
            raise FedfrError(f"a personalized model has no entry {unknown[0]!r}; write the model again")
        return cls(backbone, prototypes, dfc)

    @property
    def transform(self) -> dict[str, Tensor]:
        """Entries of the DFC module's feature transform, without the prefix; its branches are used in training only."""
        return {name.removeprefix(TRANSFORM): value for name, value in self.dfc.items() if name.startswith(TRANSFORM)}

    def network(self, role: str) -> dict[str, Tensor]:
        """Return the entries of the network that computes features, named as in a model file of this ``role``."""
        if role != PERSONALIZED:
            return dict(self.backbone)
        named = {f"{_BACKBONE}{name}": value for name, value in self.backbone.items()}
        return named | {f"{_DFC}{TRANSFORM}{name}": value for name, value in self.transform.items()}

    def tensors(self, role: str) -> dict[str, Tensor]:
        """Return all entries, named as in a model file of this ``role``; inverse of :meth:`of_model`."""
        prototypes = {} if self.prototypes is None else {_prototypes_of(role): self.prototypes}
        dfc = {f"{_DFC}{name}": value for name, value in self.dfc.items()} if role == PERSONALIZED else {}
        return self.network(role) | dfc | prototypes

    def space(self, role: str) -> str:
        """Return the identifier of the embedding space, which does not depend on prototypes and branches."""
        return embedding_space(self.network(role))


def _prototypes_of(role: str) -> str:
    return _PRIVATE_PROTOTYPES if role == PERSONALIZED else PUBLIC_PROTOTYPES
