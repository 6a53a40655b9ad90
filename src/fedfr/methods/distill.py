"""Personalization by distillation: the tuned copy also follows the shared model's answers (Yu et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from fedfr.federation.method import MethodSettings, RoundContext
from fedfr.methods.finetune import FineTune, FineTuneSettings
from fedfr.training.features import FrozenFeatures, freeze
from fedfr.training.objective import Distillation, MarginSoftmax, Objective
from fedfr.training.training_set import TrainingSet

__all__ = ["Distill", "DistillSettings"]

TEACHER = "teacher/"
PROTOTYPES = f"{TEACHER}prototypes"


class DistillSettings(FineTuneSettings):
    """``share`` of the loss that is the teacher's, and ``temperature`` K (arXiv 2002.04758, section 3)."""

    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    temperature: Annotated[float, Field(gt=0)] = 2.0


class Distill(FineTune):
    """FedAvg's rounds, then tuning with (1 − a)·L_cos + a·K²·KL(teacher ‖ student) over the client's identities.

    The teacher is the shared model of the last round with the client's prototypes as they were before tuning; so is
    its BatchNorm where that is the client's own. It stays the same in every round of tuning.
    """

    settings_type: ClassVar[type[MethodSettings]] = DistillSettings
    settings: DistillSettings

    def objective(self, context: RoundContext) -> Objective:
        """L_cos; in tuning with the teacher's part."""
        if self.shares_in(context.round, context.settings.federation.rounds):
            return super().objective(context)
        own, local = self.settings, context.settings.local
        teacher = self.extra_state(context)[PROTOTYPES].to(context.settings.compute.device)
        return Objective(
            [
                MarginSoftmax(scale=local.scale, margin=local.margin, weight=1 - own.share),
                Distillation(teacher, own.temperature, local.scale, weight=own.share),
            ]
        )

    def frozen_features(
        self, context: RoundContext, pool: TrainingSet, upright: Callable[[], torch.Tensor]
    ) -> tuple[FrozenFeatures | None, FrozenFeatures | None]:
        """The teacher's features, in tuning."""
        if self.shares_in(context.round, context.settings.federation.rounds):
            return None, None
        teacher, known = context.models.generic, None
        if context.local_entries and _taught(context):
            # The client's own entries have been tuned since.
            before = {name: self.extra_state(context)[f"{TEACHER}{name}"] for name in context.local_entries}
            teacher = context.models.with_weights({**context.weights, **before})
        else:
            known = upright()
        return freeze(teacher, pool, context.settings.compute, flips=context.settings.local.flip, upright=known), None

    def extra_state(self, context: RoundContext) -> Mapping[str, torch.Tensor]:
        """Of the teacher what is the client's own, from the first round of tuning on."""
        if self.shares_in(context.round, context.settings.federation.rounds):
            return {}
        taught = _taught(context)
        own = {f"{TEACHER}{name}": context.weights[name] for name in context.local_entries}
        return taught or {PROTOTYPES: self.starting_prototypes(context), **own}


def _taught(context: RoundContext) -> Mapping[str, torch.Tensor]:
    """What an earlier round of tuning has kept; nothing in the first."""
    state = context.state
    if state is None or state.round <= context.settings.federation.rounds:
        return {}
    return {name: value for name, value in state.personal.items() if name.startswith(TEACHER)}
