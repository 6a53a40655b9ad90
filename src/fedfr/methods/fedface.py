"""FedFace: the server spreads out the prototypes of all clients' identities (Aggarwal et al., IJCB 2021)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from fedfr.federation.method import GenericModel, Method, MethodSettings, RoundContext, revealed_key
from fedfr.losses import spreadout_loss

__all__ = ["FedFace", "FedFaceSettings"]


class FedFaceSettings(MethodSettings):
    """Settings of the server's step (arXiv 2104.03008, equation 8): SGD on the SpreadOut loss of all prototypes."""

    margin: Annotated[float, Field(ge=-1, le=1)] = 0.4
    steps: Annotated[int, Field(ge=1)] = 20
    learning_rate: Annotated[float, Field(gt=0, le=3e38)] = 0.1
    reduction: Literal["sum", "mean"] = "sum"


class FedFace(Method):
    """FedAvg with SpreadOut over the private prototypes of all clients, which the server receives."""

    settings_type: ClassVar[type[MethodSettings]] = FedFaceSettings
    settings: FedFaceSettings
    reveals_identities = True
    privacy = (
        "fedface sends every client's private prototypes to the server: one feature vector per enrolled person, "
        "from which the person can be recognized elsewhere; use it for comparison, not with faces of real people"
    )

    def starting_prototypes(self, context: RoundContext) -> torch.Tensor:
        """Return Φ_i as the server sent it back."""
        return super().starting_prototypes(context) if context.identities is None else context.identities

    def server_step(self, generic: GenericModel, average: GenericModel) -> GenericModel:
        """Spread out the prototypes at unit length; leave the averaged backbone unchanged.

        Only their directions count in every loss, and at unit length the step size suits every backbone.
        """
        # Sorted by name: a resumed run reads them in another order, and sums need a fixed order.
        names = sorted(name for name in average.server_state if name.startswith(revealed_key("")))
        if not names:
            return average
        own = self.settings
        parts = [average.server_state[name] for name in names]
        prototypes = torch.nn.functional.normalize(torch.cat(parts)).requires_grad_()
        optimizer = torch.optim.SGD([prototypes], lr=own.learning_rate)
        for _ in range(own.steps):
            optimizer.zero_grad()
            spreadout_loss(prototypes, own.margin, own.reduction).backward()
            optimizer.step()
        spread = prototypes.detach().split([len(part) for part in parts])
        kept = {**average.server_state, **{name: part.clone() for name, part in zip(names, spread, strict=True)}}
        return GenericModel(average.weights, average.prototypes, kept)
