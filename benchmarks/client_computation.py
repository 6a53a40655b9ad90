"""Computation of one FedFR client in a round, timed without messages, files and events."""

from __future__ import annotations

import time

import torch

from fedfr.experiments.experiment import Experiment
from fedfr.models import DFC, build_backbone
from fedfr.training.features import extract_features, freeze
from fedfr.training.loop import TrainingPlan, train
from fedfr.training.objective import Contrastive, MarginSoftmax, Network, Objective, OneVsAll
from fedfr.training.training_set import TrainingSet

__all__ = ["ClientComputation"]


class ClientComputation:
    """Computation of one client without the work around it, repeatable on networks that are already built."""

    def __init__(self, made: Experiment, public: int) -> None:
        components = made.components
        self.compute, backbone = components.compute, made.config.model.backbone
        self.generic = components.compute.place(build_backbone(backbone, 0)).eval()
        self.training_set = TrainingSet(
            [(components.faces.subset(next(iter(components.split.clients.values())).train), None, 0)]
        )
        self.public = TrainingSet([(components.faces.subset(components.split.public), None, 0)])
        trained = components.compute.place(build_backbone(backbone, 0))
        draw = torch.Generator().manual_seed(0)
        self.network = Network(
            trained,
            torch.randn(1, 512, generator=draw),
            torch.randn(public, 512, generator=draw),
            DFC(1, 512),
        )
        self.objective = Objective([MarginSoftmax(), OneVsAll(), Contrastive()])
        local = made.config.local
        self.plan = TrainingPlan(
            epochs=1,
            batch_size=local.batch_size,
            learning_rate=lambda moment: local.learning_rate,
            momentum=local.momentum,
            weight_decay=local.weight_decay,
            seed=0,
            purpose=("alone",),
        )

    def seconds(self) -> float:
        """Return the seconds that one client takes: features, then the training epoch."""
        started = time.perf_counter()
        upright = extract_features(self.generic, self.training_set, self.compute)
        used = self.plan.used(len(self.training_set))
        frozen = freeze(self.generic, self.training_set, self.compute, used, upright=upright)
        train(
            self.network,
            self.training_set,
            self.objective,
            self.plan,
            self.compute,
            global_features=frozen,
            previous_features=frozen,
        )
        return time.perf_counter() - started

    def public_seconds(self) -> float:
        """Return the seconds that the features of the public images take."""
        started = time.perf_counter()
        extract_features(self.generic, self.public, self.compute)
        return time.perf_counter() - started
