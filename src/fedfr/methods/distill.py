"""Personalisation by distillation: the tuned copy also follows the shared model's answers (Yu et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from fedfr.federation.method import MethodSettings, RoundContext
from fedfr.methods.finetune import FineTune, FineTuneSettings
from fedfr.training.features import FrozenFeatures, freeze
from fedfr.training.objective import Distillation, MarginSoftmax, Objective
from fedfr.training.pool import FacePool

__all__ = ["Distill", "DistillSettings"]


class DistillSettings(FineTuneSettings):
    """``share`` of the loss that is the teacher's, and ``temperature`` K (arXiv 2002.04758, section 3)."""

    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    temperature: Annotated[float, Field(gt=0)] = 2.0


class Distill(FineTune):
    """FedAvg's rounds, then tuning with (1 − a)·L_cos + a·K²·KL(teacher ‖ student) over the client's identities.

    The teacher is the shared model of the last round with the client's prototypes as they were before tuning.
    """

    settings_type: ClassVar[type[MethodSettings]] = DistillSettings
    settings: DistillSettings

    def objective(self, context: RoundContext) -> Objective:
        """L_cos; in tuning with the teacher's part."""
        if self.shares_in(context.round, context.rounds):
            return super().objective(context)
        own, local = self.settings, context.local
        teacher = self.starting_prototypes(context).to(context.compute.device)
        return Objective(
            [
                MarginSoftmax(scale=local.scale, margin=local.margin, weight=1 - own.share),
                Distillation(teacher, own.temperature, local.scale, weight=own.share),
            ]
        )

    def frozen_features(
        self, context: RoundContext, pool: FacePool, upright: Callable[[], torch.Tensor]
    ) -> tuple[FrozenFeatures | None, FrozenFeatures | None]:
        """The teacher's features, in tuning."""
        if self.shares_in(context.round, context.rounds):
            return None, None
        return freeze(context.generic, pool, context.compute, flips=context.local.flip, upright=upright()), None
