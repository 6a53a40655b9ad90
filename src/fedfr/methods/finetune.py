"""Fine-tuning: FedAvg, followed by local training of the result at every client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from fedfr.federation.method import Method, MethodSettings, RoundContext

__all__ = ["FineTune", "FineTuneSettings"]


class FineTuneSettings(MethodSettings):
    """Number of rounds ``tuning_rounds`` of local training after the federated rounds."""

    tuning_rounds: Annotated[int, Field(ge=1)] = 1


class FineTune(Method):
    """FedAvg, then ``tuning_rounds`` rounds in which nothing is shared (Yu et al. 2020, arXiv 2002.04758).

    The generic model is bit-identical to FedAvg's.
    """

    settings_type: ClassVar[type[MethodSettings]] = FineTuneSettings
    settings: FineTuneSettings

    def rounds(self, configured: int) -> int:
        """Return the number of federated and fine-tuning rounds."""
        return configured + self.settings.tuning_rounds

    def shares_in(self, round_number: int, configured: int) -> bool:
        """Return whether this is a federated round."""
        return round_number <= configured

    def starting_weights(self, context: RoundContext) -> Mapping[str, torch.Tensor]:
        """Return θ^t or, from the second fine-tuning round, the client's own weights."""
        continues = context.state is not None and context.state.round > context.settings.federation.rounds
        return context.state.backbone if continues and context.state is not None else context.weights
