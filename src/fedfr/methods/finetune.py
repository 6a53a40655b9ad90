"""Fine-tuning: federated rounds, followed by local training of the result at every client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from fedfr.federation.method import Method, MethodSettings, RoundContext
from fedfr.training.features import FrozenFeatures
from fedfr.training.objective import Objective
from fedfr.training.training_set import TrainingSet

__all__ = ["FineTune", "FineTuneSettings"]


class FineTuneSettings(MethodSettings):
    """Number of rounds ``tuning_rounds`` of local training after the federated rounds."""

    tuning_rounds: Annotated[int, Field(ge=1)] = 1


class FineTune(Method):
    """FedAvg, then ``tuning_rounds`` rounds in which nothing is shared (Yu et al. 2020, arXiv 2002.04758).

    The generic model is bit-identical to FedAvg's. As the first of two base classes, it adds these rounds to the method
    of the second. They train on the private faces alone, with L_cos over the private identities.
    """

    settings_type: ClassVar[type[MethodSettings]] = FineTuneSettings
    settings: FineTuneSettings

    def rounds(self, configured: int) -> int:
        """Return the number of federated and fine-tuning rounds."""
        return configured + self.settings.tuning_rounds

    def shares_in(self, round_number: int, configured: int) -> bool:
        """Return whether this is a federated round."""
        return round_number <= configured

    def is_federated(self, context: RoundContext) -> bool:
        """Return whether this is a federated round, and not one of fine-tuning."""
        return self.shares_in(context.round, context.settings.federation.rounds)

    def starting_weights(self, context: RoundContext) -> Mapping[str, torch.Tensor]:
        """Return θ^t or, from the second fine-tuning round, the client's own weights."""
        continues = context.state is not None and context.state.round > context.settings.federation.rounds
        return context.state.backbone if continues and context.state is not None else context.weights

    def public_faces(self, context: RoundContext) -> torch.Tensor:
        """Return the public faces of federated rounds; none in fine-tuning rounds."""
        return super().public_faces(context) if self.is_federated(context) else Method.public_faces(self, context)

    def has_public_classes(self, context: RoundContext) -> bool:
        """Return whether public identities are classes, which they are not in fine-tuning rounds."""
        return super().has_public_classes(context) and self.is_federated(context)

    def objective(self, context: RoundContext) -> Objective:
        """Return the objective of federated rounds; L_cos in fine-tuning rounds."""
        return super().objective(context) if self.is_federated(context) else Method.objective(self, context)

    def frozen_features(
        self, context: RoundContext, training_set: TrainingSet, upright: Callable[[], torch.Tensor]
    ) -> tuple[FrozenFeatures | None, FrozenFeatures | None]:
        """Return the features that federated rounds need; none in fine-tuning rounds."""
        return super().frozen_features(context, training_set, upright) if self.is_federated(context) else (None, None)
