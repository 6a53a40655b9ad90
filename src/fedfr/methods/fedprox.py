"""FedProx: local training regularized towards the round's starting model (Li et al., MLSys 2020)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fedfr.federation.method import Method, MethodSettings, RoundContext
from fedfr.training.objective import Objective, Proximal

__all__ = ["FedProx", "FedProxSettings"]


class FedProxSettings(MethodSettings):
    """Weight ``mu``: μ of the paper (arXiv 1812.06127, equation 2)."""

    mu: Annotated[float, Field(ge=0)] = Proximal.weight


class FedProx(Method):
    """FedAvg with (μ/2)·‖θ − θ^t‖² over the backbone's parameters; with μ = 0 it is FedAvg to the bit."""

    settings_type: ClassVar[type[MethodSettings]] = FedProxSettings
    settings: FedProxSettings

    def objective(self, context: RoundContext) -> Objective:
        """Return L_cos + μ · L_prox."""
        terms = super().objective(context).terms
        if self.settings.mu == 0:
            return Objective(terms)
        return Objective([*terms, Proximal(context.weights, weight=self.settings.mu)])
