"""Ablation: CosFace in place of the one-vs-all loss of the DFC (Liu et al. 2022, table 2)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fedfr.federation.method import MethodSettings, RoundContext
from fedfr.methods.fedfr import FedFR, FedFRSettings
from fedfr.training.objective import BranchMarginSoftmax, Term

__all__ = ["BranchCosFace", "BranchCosFaceSettings"]


class BranchCosFaceSettings(FedFRSettings):
    """FedFR's settings; ``branch_weight`` weights the CosFace of the branches, in place of ``dfc.weight``.

    The paper does not give the value. One-vs-all is a small loss with weight 10; a softmax loss with this weight would
    be ten times L_cos and degrade the backbone.
    """

    branch_weight: Annotated[float, Field(ge=0)] = BranchMarginSoftmax.weight


class BranchCosFace(FedFR):
    """FedFR with a softmax over the client's own identities on z' = T(u); public faces do not take part in it."""

    settings_type: ClassVar[type[MethodSettings]] = BranchCosFaceSettings
    settings: BranchCosFaceSettings

    def branch_term(self, context: RoundContext) -> Term:
        """Return CosFace over the branches."""
        own, weight = self.settings.dfc, self.settings.branch_weight
        return BranchMarginSoftmax(weight=weight, scale=own.scale, margin=own.margin, detach=own.detach)
