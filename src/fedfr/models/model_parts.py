"""A model taken apart: backbone, prototypes, DFC module – whatever file it lies in."""

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
    """Entries of a backbone; prototypes (K, D), public ones of a generic model and private ones of a client's, or None;
    entries of a client's DFC module, or none.
    """

    backbone: Mapping[str, Tensor]
    prototypes: Tensor | None = None
    dfc: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of_model(cls, tensors: Mapping[str, Tensor], contract: Contract) -> ModelParts:
        """The parts of a model of this project; raises :class:`FedfrError` when it holds anything else."""
        named = _prototypes_of(contract.role)
        rest = {name: value for name, value in tensors.items() if name != named}
        prototypes = tensors.get(named)
        if contract.role != PERSONALIZED:
            return cls(rest, prototypes)
        backbone, dfc = (
            {name.removeprefix(prefix): value for name, value in rest.items() if name.startswith(prefix)}
            for prefix in (_BACKBONE, _DFC)
        )
        strange = [name for name in rest if not name.startswith((_BACKBONE, _DFC))]
        if strange:
            raise FedfrError(f"a personalized model has no entry {strange[0]!r}; write the model again")
        return cls(backbone, prototypes, dfc)

    @property
    def transform(self) -> dict[str, Tensor]:
        """Entries of the DFC module's feature transform, under its own names; its branches serve training alone."""
        return {name.removeprefix(TRANSFORM): value for name, value in self.dfc.items() if name.startswith(TRANSFORM)}

    def network(self, role: str) -> dict[str, Tensor]:
        """What computes features, under the names of a model of this ``role``."""
        if role != PERSONALIZED:
            return dict(self.backbone)
        named = {f"{_BACKBONE}{name}": value for name, value in self.backbone.items()}
        return named | {f"{_DFC}{TRANSFORM}{name}": value for name, value in self.transform.items()}

    def tensors(self, role: str) -> dict[str, Tensor]:
        """Everything, under the names of a model of this ``role``; inverse of :meth:`of_model`."""
        prototypes = {} if self.prototypes is None else {_prototypes_of(role): self.prototypes}
        dfc = {f"{_DFC}{name}": value for name, value in self.dfc.items()} if role == PERSONALIZED else {}
        return self.network(role) | dfc | prototypes

    def space(self, role: str) -> str:
        """Name of the embedding space; prototypes and branches have no part in it."""
        return embedding_space(self.network(role))


def _prototypes_of(role: str) -> str:
    return _PRIVATE_PROTOTYPES if role == PERSONALIZED else PUBLIC_PROTOTYPES
