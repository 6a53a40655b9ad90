"""FedRep: local head and shared body trained in turn (Collins et al., ICML 2021)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

from pydantic import Field

from fedfr.federation.method import MethodSettings, RoundContext
from fedfr.methods.fedper import FedPer
from fedfr.methods.partial import PartialSettings
from fedfr.training.loop import Moment

__all__ = ["FedRep", "FedRepSettings"]


class FedRepSettings(PartialSettings):
    """Number of epochs ``body_epochs`` that train the body, at the end of a round; the others train the head.

    With ``local.steps`` the first half of the steps trains the head and the second half the body.
    """

    body_epochs: Annotated[int, Field(ge=1)] = 1


class FedRep(FedPer):
    """FedPer with the head (last layers and prototypes) and the body trained one after the other.

    arXiv 2102.07078, algorithm 1. A round with at most ``body_epochs`` epochs trains only the body.
    """

    settings_type: ClassVar[type[MethodSettings]] = FedRepSettings
    settings: FedRepSettings

    def learns(self, context: RoundContext) -> Callable[[Moment, str], bool] | None:
        """Select the head until the last ``body_epochs`` or the second half of the steps, then the body."""
        body, local = {f"backbone.{name}" for name in self.shares(context.weights)}, context.settings.local
        turn = local.epochs_in(context.round) - self.settings.body_epochs if local.steps is None else local.steps // 2

        def learns(moment: Moment, name: str) -> bool:
            done = moment.epoch if local.steps is None else moment.step
            return (name in body) == (done >= turn)

        return learns
