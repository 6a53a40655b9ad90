"""MOON: contrastive term towards the global and away from the previous local model (Li, He, Song, CVPR 2021)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from fedfr.config.schema import Settings
from fedfr.federation.method import Method, MethodSettings, RoundContext
from fedfr.training.features import FrozenFeatures, freeze
from fedfr.training.objective import Contrastive, Objective
from fedfr.training.training_set import TrainingSet

__all__ = ["ContrastiveSettings", "Moon", "MoonSettings", "contrasted_features"]


class ContrastiveSettings(Settings):
    """Weight μ and temperature T of L_con; ``first_previous``: model of u_p at the first participation."""

    weight: Annotated[float, Field(ge=0)] = Contrastive.weight
    temperature: Annotated[float, Field(gt=0)] = Contrastive.temperature
    first_previous: Literal["global", "random"] = "global"


class MoonSettings(MethodSettings):
    """Settings of the contrastive term (arXiv 2103.16257, equation 3), applied to the feature itself."""

    contrastive: ContrastiveSettings = ContrastiveSettings()


class Moon(Method):
    """FedAvg with the contrastive term on private faces."""

    settings_type: ClassVar[type[MethodSettings]] = MoonSettings
    settings: MoonSettings

    def objective(self, context: RoundContext) -> Objective:
        """Return L_cos + μ · L_con."""
        own = self.settings.contrastive
        terms = super().objective(context).terms
        return Objective([*terms, Contrastive(weight=own.weight, temperature=own.temperature)])

    def frozen_features(
        self, context: RoundContext, training_set: TrainingSet, upright: Callable[[], torch.Tensor]
    ) -> tuple[FrozenFeatures | None, FrozenFeatures | None]:
        """Return u_g and u_p of the whole training set."""
        return contrasted_features(context, training_set, upright, self.settings.contrastive.first_previous)


def contrasted_features(
    context: RoundContext, training_set: TrainingSet, upright: Callable[[], torch.Tensor], first_previous: str
) -> tuple[FrozenFeatures, FrozenFeatures]:
    """Compute u_g and u_p of the whole training set once per round; arguments as in ``frozen_features``."""

    def features(backbone: nn.Module, known: torch.Tensor | None = None) -> FrozenFeatures:
        return freeze(
            backbone, training_set, context.settings.compute, flips=context.settings.local.flip, upright=known
        )

    global_features = features(context.models.generic, upright())
    if context.state is not None:
        return global_features, features(context.models.with_weights(context.state.backbone))
    if first_previous == "random":
        return global_features, features(context.models.new_backbone(1).eval())
    return global_features, global_features
