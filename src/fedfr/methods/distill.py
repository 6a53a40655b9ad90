"""Personalization by fine-tuning with distillation from the shared model (Yu et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from fedfr.federation.local_plan import frozen_in_round
from fedfr.federation.method import MethodSettings, RoundContext
from fedfr.methods.finetune import FineTune, FineTuneSettings
from fedfr.training.features import FrozenFeatures
from fedfr.training.objective import Distillation, Objective
from fedfr.training.training_set import TrainingSet

__all__ = ["Distill", "DistillSettings"]

TEACHER = "teacher/"
PROTOTYPES = f"{TEACHER}prototypes"


class DistillSettings(FineTuneSettings):
    """Weight ``share`` of the distillation loss, and ``temperature`` K (arXiv 2002.04758, section 3)."""

    share: Annotated[float, Field(gt=0, lt=1)] = Distillation.weight
    temperature: Annotated[float, Field(gt=0)] = Distillation.temperature


class Distill(FineTune):
    """FedAvg, then fine-tuning with (1 − a)·L_cos + a·K²·KL(teacher ‖ student) over the client's identities.

    The teacher is the shared model of the last federated round with the client's prototypes, and its own BatchNorm if
    that is local, from before fine-tuning. It is the same in every fine-tuning round. Like :class:`FineTune`, it can
    add these rounds to another method.
    """

    settings_type: ClassVar[type[MethodSettings]] = DistillSettings
    settings: DistillSettings

    def objective(self, context: RoundContext) -> Objective:
        """Return L_cos, in fine-tuning rounds with the distillation term."""
        if self.is_federated(context):
            return super().objective(context)
        own, local = self.settings, context.settings.local
        teacher = self.extra_state(context)[PROTOTYPES].to(context.settings.compute.device)
        return Objective(
            [
                self.classification_term(context, weight=1 - own.share),
                Distillation(teacher, own.temperature, local.scale, weight=own.share),
            ]
        )

    def frozen_features(
        self, context: RoundContext, training_set: TrainingSet, upright: Callable[[], torch.Tensor]
    ) -> tuple[FrozenFeatures | None, FrozenFeatures | None]:
        """Return the teacher's features in fine-tuning rounds, those that the method needs in federated ones."""
        if self.is_federated(context):
            return super().frozen_features(context, training_set, upright)
        teacher, known = context.models.generic, None
        if context.local_entries and _saved_teacher(context):
            # The client's own entries have been fine-tuned since.
            before = {name: self.extra_state(context)[f"{TEACHER}{name}"] for name in context.local_entries}
            teacher = context.models.with_weights({**context.weights, **before})
        elif context.models.has_private_features:
            known = upright()
        return frozen_in_round(context, teacher, training_set, known), None

    def extra_state(self, context: RoundContext) -> Mapping[str, torch.Tensor]:
        """Return the client's own part of the teacher, from the first fine-tuning round."""
        if self.is_federated(context):
            return super().extra_state(context)
        saved = _saved_teacher(context)
        own = {f"{TEACHER}{name}": context.weights[name] for name in context.local_entries}
        return saved or {PROTOTYPES: self.starting_prototypes(context), **own}


def _saved_teacher(context: RoundContext) -> Mapping[str, torch.Tensor]:
    """Return the teacher saved by an earlier fine-tuning round; empty in the first."""
    state = context.state
    if state is None or state.round <= context.settings.federation.rounds:
        return {}
    return {name: value for name, value in state.personal.items() if name.startswith(TEACHER)}
