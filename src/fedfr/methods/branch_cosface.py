"""FedFR with a CosFace branch: what the one-vs-all loss of the DFC is compared with (Liu et al. 2022, table 2)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fedfr.federation.method import MethodSettings, RoundContext
from fedfr.methods.fedfr import FedFR, FedFRSettings
from fedfr.training.objective import BranchMarginSoftmax, Term

__all__ = ["BranchCosFace", "BranchCosFaceSettings"]


class BranchCosFaceSettings(FedFRSettings):
    """``branch_weight``: of the branch's CosFace, in place of ``dfc.weight``.

    The paper does not give it. One-vs-all is a small loss and weighs 10; a softmax that weighed as much would be ten
    times L_cos, and ruins the backbone.
    """

    branch_weight: Annotated[float, Field(ge=0)] = 1.0


class BranchCosFace(FedFR):
    """z' = T(u) and the branches as a softmax over the client's own identities; public faces have no class in it."""

    settings_type: ClassVar[type[MethodSettings]] = BranchCosFaceSettings
    settings: BranchCosFaceSettings

    def branch_term(self, context: RoundContext) -> Term:
        """CosFace over the branches."""
        own, weight = self.settings.dfc, self.settings.branch_weight
        return BranchMarginSoftmax(weight=weight, scale=own.scale, margin=own.margin, detach=own.detach)
