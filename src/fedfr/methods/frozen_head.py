"""Control of the backbone's training: a personalized head on the features of the starting model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import torch

from fedfr.federation.method import MethodSettings, RoundContext
from fedfr.methods.ablations import WithoutContrastive
from fedfr.methods.fedfr import FedFRSettings
from fedfr.training.features import FrozenFeatures
from fedfr.training.objective import Objective
from fedfr.training.training_set import TrainingSet

__all__ = ["FrozenHead", "FrozenHeadSettings"]


class FrozenHeadSettings(FedFRSettings):
    """FedFR's settings of the DFC module; ``negatives``: all public faces, or those that FedFR's search selects."""

    negatives: Literal["all", "hard"] = "all"


class FrozenHead(WithoutContrastive):
    """DFC alone: each client trains its transform and branches on features of the starting model; nothing is shared.

    The backbone does not run in training: the features of images and mirror images are computed once a round, those of
    the public faces once for all clients and rounds.
    """

    settings_type: ClassVar[type[MethodSettings]] = FrozenHeadSettings
    settings: FrozenHeadSettings
    generic_model = None
    trains_backbone = False

    def __init__(self, settings: Mapping[str, Any], where: str = "method") -> None:
        super().__init__(settings, where)
        self.uses_public_prototypes = self.uses_logits = False

    @property
    def needs_public_faces(self) -> bool:
        """True: they are the negatives."""
        return True

    def shares(self, entries: Mapping[str, torch.Tensor]) -> frozenset[str]:
        """Return no entries."""
        return frozenset()

    def public_faces(self, context: RoundContext) -> torch.Tensor:
        """Return the public faces that are negatives of every branch."""
        return super().public_faces(context) if self.settings.negatives == "hard" else torch.arange(len(context.public))

    def objective(self, context: RoundContext) -> Objective:
        """Return L_dfc."""
        return Objective([self.branch_term(context)])

    def frozen_features(
        self, context: RoundContext, training_set: TrainingSet, upright: Callable[[], torch.Tensor]
    ) -> tuple[FrozenFeatures | None, FrozenFeatures | None]:
        """Return the features of the training set under the starting model."""
        plain = mirror = upright()
        if context.settings.local.flip:
            public = torch.from_numpy(training_set.rows(1))
            models = context.models
            parts = [models.mirrored_private_features]
            mirror = torch.cat([*parts, models.mirrored_public_features[public]] if len(public) else parts)
        return FrozenFeatures(torch.stack([plain, mirror]).to(context.settings.compute.device)), None
