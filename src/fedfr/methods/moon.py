"""MOON: features stay near the global model's and away from the previous local one's (Li, He, Song, CVPR 2021)."""

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
    """L_con with weight μ and temperature T; ``first_previous``: what u_p is at the first participation."""

    weight: Annotated[float, Field(ge=0)] = 5.0
    temperature: Annotated[float, Field(gt=0)] = 0.5
    first_previous: Literal["global", "random"] = "global"


class MoonSettings(MethodSettings):
    """The contrastive term on the private faces (arXiv 2103.16257, equation 3), on the feature itself."""

    contrastive: ContrastiveSettings = ContrastiveSettings()


class Moon(Method):
    """FedAvg with the contrastive term; that of FedFR, which lets public faces take part in it."""

    settings_type: ClassVar[type[MethodSettings]] = MoonSettings
    settings: MoonSettings

    def objective(self, context: RoundContext) -> Objective:
        """L_cos + μ · L_con."""
        own = self.settings.contrastive
        terms = super().objective(context).terms
        return Objective([*terms, Contrastive(weight=own.weight, temperature=own.temperature)])

    def frozen_features(
        self, context: RoundContext, pool: TrainingSet, upright: Callable[[], torch.Tensor]
    ) -> tuple[FrozenFeatures | None, FrozenFeatures | None]:
        """u_g and u_p of the whole pool."""
        return contrasted_features(context, pool, upright, self.settings.contrastive.first_previous)


def contrasted_features(
    context: RoundContext, pool: TrainingSet, upright: Callable[[], torch.Tensor], first_previous: str
) -> tuple[FrozenFeatures, FrozenFeatures]:
    """u_g and u_p of the whole pool, once per round instead of once per step; arguments as in ``frozen_features``."""

    def features(backbone: nn.Module, known: torch.Tensor | None = None) -> FrozenFeatures:
        return freeze(backbone, pool, context.settings.compute, flips=context.settings.local.flip, upright=known)

    global_features = features(context.models.generic, upright())
    if context.state is not None:
        return global_features, features(context.models.with_weights(context.state.backbone))
    if first_previous == "random":
        return global_features, features(context.models.new_backbone(1).eval())
    return global_features, global_features
