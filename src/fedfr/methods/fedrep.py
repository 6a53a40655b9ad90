"""FedRep: first the client's own head learns, then the common body under it (Collins et al., ICML 2021)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

from pydantic import Field

from fedfr.federation.method import MethodSettings, RoundContext
from fedfr.methods.fedper import FedPer
from fedfr.methods.partial import PartialSettings

__all__ = ["FedRep", "FedRepSettings"]


class FedRepSettings(PartialSettings):
    """``body_epochs``: how many epochs at the end of a round train the body; the others train the head."""

    body_epochs: Annotated[int, Field(ge=1)] = 1


class FedRep(FedPer):
    """Shares what FedPer shares; head (last layers and prototypes) and body learn one after the other.

    arXiv 2102.07078, algorithm 1. A round as short as ``body_epochs`` trains the body alone.
    """

    settings_type: ClassVar[type[MethodSettings]] = FedRepSettings
    settings: FedRepSettings

    def learns(self, context: RoundContext) -> Callable[[int, str], bool] | None:
        """Head until the last ``body_epochs``, body in those."""
        body = {f"backbone.{name}" for name in self.shares(context.weights)}
        turn = context.settings.local.epochs_in(context.round) - self.settings.body_epochs

        def learns(epoch: int, name: str) -> bool:
            return (name in body) == (epoch >= turn)

        return learns
