"""Ditto: personal models regularized towards the shared model (Li et al., ICML 2021)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from fedfr.federation.method import Method, MethodSettings, PersonalTraining, RoundContext
from fedfr.training.objective import Objective, Proximal

__all__ = ["Ditto", "DittoSettings"]


class DittoSettings(MethodSettings):
    """Weight ``lam``: λ of the paper (arXiv 2012.04221, equation 2); 0 is local training, large λ the shared model."""

    lam: Annotated[float, Field(ge=0)] = 0.1


class Ditto(Method):
    """FedAvg, and per client min L_cos(v) + (λ/2)·‖v − θ^t‖², which doubles the training time."""

    settings_type: ClassVar[type[MethodSettings]] = DittoSettings
    settings: DittoSettings

    def personal_training(self, context: RoundContext) -> PersonalTraining:
        """Return the training of v, from its previous value or, at first, from θ^t."""
        known = context.state
        own = {} if known is None else known.personal_backbone
        prototypes = known.personal["prototypes"] if known is not None and own else self.initial_prototypes(context)
        terms = super().objective(context).terms
        objective = Objective([*terms, Proximal(context.weights, weight=self.settings.lam)])
        return PersonalTraining(own or context.weights, prototypes, objective)
