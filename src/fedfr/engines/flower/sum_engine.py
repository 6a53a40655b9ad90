"""Engine of secure sums with sites on other machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from fedfr.engines.flower.grid_engine import FlowerEngine
from fedfr.engines.flower.wire import MOST_OF_STAGE
from fedfr.engines.secure_sum import SecureSumEngine
from fedfr.engines.sum_terms import SumTerms
from fedfr.federation.messages import Broadcast, Failure
from fedfr.privacy.secure_sum import RoundPlan
from fedfr.privacy.secure_sum.stage_messages import Stage

__all__ = ["FlowerSumEngine"]


class FlowerSumEngine(SecureSumEngine):
    """Has the sites of ``engine`` train, and runs the stages of each secure sum with them, through the SuperLink."""

    def __init__(self, engine: FlowerEngine, records: Path, terms: SumTerms) -> None:
        super().__init__(engine, records, terms)
        self._flower = engine

    def __enter__(self) -> Self:
        self._flower.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._flower.__exit__(*exception)

    def _answers(
        self, broadcast: Broadcast, plan: RoundPlan, stage: Stage, requests: Mapping[str, bytes]
    ) -> Iterator[tuple[str, bytes | Failure]]:
        vector = 4 * plan.layout.length if stage is Stage.MASK else 0
        return self._flower.ask_stage(stage, plan.round, requests, vector + MOST_OF_STAGE)

    def _finish(self, ready: Sequence[str], members: Sequence[str]) -> None:
        """Do nothing: sites remove their vectors themselves."""
