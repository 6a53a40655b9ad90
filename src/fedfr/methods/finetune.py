"""Fine-tuning: FedAvg, then every client trains its copy of the result on its own faces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from fedfr.federation.method import Method, MethodSettings, RoundContext

__all__ = ["FineTune", "FineTuneSettings"]


class FineTuneSettings(MethodSettings):
    """``tuning_rounds``: rounds of local training that follow the federated ones."""

    tuning_rounds: Annotated[int, Field(ge=1)] = 1


class FineTune(Method):
    """FedAvg's rounds, then ``tuning_rounds`` more in which nothing is shared (Yu et al. 2020, arXiv 2002.04758).

    The generic model is FedAvg's to the bit.
    """

    settings_type: ClassVar[type[MethodSettings]] = FineTuneSettings
    settings: FineTuneSettings

    def rounds(self, configured: int) -> int:
        """The federated ones and those of tuning."""
        return configured + self.settings.tuning_rounds

    def shares_in(self, round_number: int, configured: int) -> bool:
        """In the federated ones."""
        return round_number <= configured

    def starting_weights(self, context: RoundContext) -> Mapping[str, torch.Tensor]:
        """θ^t; from the second round of tuning on, the client's own copy."""
        going_on = context.state is not None and context.state.round > context.settings.federation.rounds
        return context.state.backbone if going_on and context.state is not None else context.weights
