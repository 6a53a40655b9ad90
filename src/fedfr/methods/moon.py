"""MOON: contrastive term towards the global and away from the previous local model (Li, He, Song, CVPR 2021)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from fedfr.config.schema import Settings
from fedfr.core.rng import derive_seed
from fedfr.federation.local_plan import frozen_in_round
from fedfr.federation.method import Method, MethodSettings, RoundContext
from fedfr.federation.private_state import PROJECTION, tensors_under
from fedfr.models import load_weights
from fedfr.training.features import FrozenFeatures
from fedfr.training.objective import Contrastive, Objective
from fedfr.training.training_set import TrainingSet

__all__ = [
    "ContrastiveSettings",
    "Moon",
    "MoonProjection",
    "MoonProjectionSettings",
    "MoonSettings",
    "ProjectionSettings",
    "contrasted_features",
]


class ContrastiveSettings(Settings):
    """Weight μ and temperature T of L_con; ``first_previous``: model of u_p at the first participation."""

    weight: Annotated[float, Field(ge=0)] = Contrastive.weight
    temperature: Annotated[float, Field(gt=0)] = Contrastive.temperature
    first_previous: Literal["global", "random"] = "global"


class ProjectionSettings(Settings):
    """Projection head: ``hidden`` units (None: as many as the feature has), ReLU, ``dim`` outputs."""

    hidden: Annotated[int, Field(ge=1)] | None = None
    dim: Annotated[int, Field(ge=1)] = 256


class MoonSettings(MethodSettings):
    """Settings of the contrastive term (arXiv 2103.16257, equation 3).

    Without ``projection`` it is applied to the feature itself.
    """

    contrastive: ContrastiveSettings = ContrastiveSettings()
    projection: ProjectionSettings | None = None


class MoonProjectionSettings(MoonSettings):
    """MOON's settings with the projection head of the paper."""

    projection: ProjectionSettings = ProjectionSettings()


class Moon(Method):
    """FedAvg with the contrastive term on private faces.

    A projection head stays at the client and serves the contrastive term alone: L_cos and the evaluation use the
    feature. It starts from the same weights at every client.
    """

    settings_type: ClassVar[type[MethodSettings]] = MoonSettings
    settings: MoonSettings

    def objective(self, context: RoundContext) -> Objective:
        """Return L_cos + μ · L_con."""
        own = self.settings.contrastive
        terms = super().objective(context).terms
        return Objective([*terms, Contrastive(weight=own.weight, temperature=own.temperature)])

    def projection(self, context: RoundContext) -> nn.Sequential | None:
        """Return the client's saved projection head, at first a random one; None without ``projection``."""
        own, dim = self.settings.projection, context.prototypes.shape[1]
        if own is None:
            return None
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(context.settings.seed, "projection"))
            hidden = own.hidden or dim
            head = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, own.dim))
        if context.state is not None:
            load_weights(head, tensors_under(PROJECTION, context.state.personal))
        return head

    def frozen_features(
        self, context: RoundContext, training_set: TrainingSet, upright: Callable[[], torch.Tensor]
    ) -> tuple[FrozenFeatures | None, FrozenFeatures | None]:
        """Return u_g and u_p of the images of the round, projected by the head from before this round's training."""
        found = contrasted_features(context, training_set, upright, self.settings.contrastive.first_previous)
        head = self.projection(context)
        if head is None:
            return found
        head.to(context.settings.compute.device)
        with torch.no_grad():
            of_global, of_previous = (FrozenFeatures(head(features.both)) for features in found)
        return of_global, of_previous


class MoonProjection(Moon):
    """MOON with a projection head, see :class:`Moon`."""

    settings_type: ClassVar[type[MethodSettings]] = MoonProjectionSettings
    settings: MoonProjectionSettings


def contrasted_features(
    context: RoundContext, training_set: TrainingSet, upright: Callable[[], torch.Tensor], first_previous: str
) -> tuple[FrozenFeatures, FrozenFeatures]:
    """Compute u_g and u_p of the images and flips of the round, once; arguments as in ``frozen_features``."""
    models = context.models
    known = upright() if models.has_private_features else None
    global_features = frozen_in_round(context, models.generic, training_set, known)
    if context.state is not None:
        previous = models.with_weights(context.state.backbone)
    elif first_previous == "random":
        previous = models.new_backbone(1).eval()
    else:
        return global_features, global_features
    return global_features, frozen_in_round(context, previous, training_set)
