"""Plan of a client's training in one round, from the settings of ``local``."""

from __future__ import annotations

import math

import torch
from torch import nn

from fedfr.config.schema import LocalConfig
from fedfr.core.decimals import exact_fraction
from fedfr.federation.round_context import ClientSettings, RoundContext
from fedfr.training.features import FrozenFeatures, freeze
from fedfr.training.loop import Moment, TrainingPlan
from fedfr.training.training_set import TrainingSet

__all__ = ["decay_epoch", "frozen_in_round", "local_plan", "work"]


def decay_epoch(local: LocalConfig, round_number: int) -> int:
    """Return the first epoch (0-based) of the round with the reduced learning rate (method, section 3.4).

    ``decay_epoch_first_round`` belongs to the adaptive schedule, and applies only to a first round that is longer.
    """
    epochs, first_round = local.epochs_in(round_number), local.decay_epoch_first_round
    if round_number == 1 and local.epochs == "adaptive" and first_round is not None and first_round < epochs:
        return first_round
    return _decay_start(local, epochs)


def _decay_start(local: LocalConfig, length: int) -> int:
    """Return the first of ``length`` epochs or steps (0-based) after the share ``decay_at``."""
    due = exact_fraction(local.decay_at) * length
    return math.ceil(due) if local.decay_rounding == "up" else math.floor(due)


def local_plan(settings: ClientSettings, round_number: int, client: str) -> TrainingPlan:
    """Return the plan of a client's training in a round."""
    local = settings.local
    decay = decay_epoch(local, round_number) if local.steps is None else _decay_start(local, local.steps)

    def learning_rate(moment: Moment) -> float:
        done = moment.epoch if local.steps is None else moment.step
        return local.learning_rate * (local.decay_factor if done >= decay else 1.0)

    return TrainingPlan(
        epochs=local.epochs_in(round_number),
        batch_size=local.batch_size,
        learning_rate=learning_rate,
        momentum=local.momentum,
        weight_decay=local.weight_decay,
        seed=settings.seed,
        purpose=("local", round_number, client),
        flip=local.flip,
        steps=local.steps,
        freeze_batchnorm=settings.federation.batchnorm == "frozen",
    )


def frozen_in_round(
    context: RoundContext, backbone: nn.Module, training_set: TrainingSet, upright: torch.Tensor | None = None
) -> FrozenFeatures:
    """Return the features under ``backbone`` of the images and flips of ``training_set`` that this round trains on.

    ``upright`` are the unflipped features (n, D) of all images, if known.
    """
    plan = local_plan(context.settings, context.round, context.client)
    return freeze(backbone, training_set, context.settings.compute, plan.used(len(training_set)), upright=upright)


def work(plan: TrainingPlan, images: int, *others: int) -> dict[str, float]:
    """Return the epochs over a training set of ``images``, and the steps and images of all training of the round.

    ``others``: sizes of further training sets with which the same plan was carried out.
    """
    counts = (images, *others)
    return {
        "epochs": plan.epochs if plan.steps is None else plan.images_of(images) / images,
        "steps": sum(map(plan.steps_of, counts)),
        "images/processed": sum(map(plan.images_of, counts)),
    }
