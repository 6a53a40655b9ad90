"""Secure sums in one process: sites with records on disk, and a coordinator, joined by their bytes alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedfr.core.errors import STOPPED, FedfrError
from fedfr.engines.sum_terms import SumResult, UpdateTerms
from fedfr.federation.messages import Broadcast, Update
from fedfr.privacy.secure_sum.agreement import RoundPlan, SumAgreement, hash_model
from fedfr.privacy.secure_sum.coordinator import Coordinator
from fedfr.privacy.secure_sum.fixed_point import Entry, Layout, Vector, encode_update
from fedfr.privacy.secure_sum.keys import Identity
from fedfr.privacy.secure_sum.site import Site
from fedfr.privacy.secure_sum.stage_messages import Stage

__all__ = ["STAGES", "RunSums", "Sums", "plain_sum", "refused"]

STAGES = list(Stage)
NAMES = ("adam", "Berta", "cäsar", "dora", "emil", "frida", "gustav")


def plain_sum(vectors: Mapping[str, Vector], members: tuple[str, ...]) -> Vector:
    """The sum modulo 2³² without any mask."""
    with np.errstate(over="ignore"):
        return sum((vectors[site] for site in members), np.zeros_like(next(iter(vectors.values()))))


@dataclass(frozen=True)
class RunSums:
    """The sums of a run in this process, by round, and by client the vectors before they were masked."""

    totals: dict[int, Vector]
    vectors: dict[int, dict[str, Vector]]

    @classmethod
    def recorded(cls, patch: pytest.MonkeyPatch) -> RunSums:
        """Return what is filled while runs sum updates."""
        found, vector_of, result_of = cls({}, {}), UpdateTerms.vector, UpdateTerms.result

        def vector(terms: UpdateTerms, broadcast: Broadcast, update: Update) -> Vector:
            made = vector_of(terms, broadcast, update)
            found.vectors.setdefault(broadcast.round, {})[update.client] = made.copy()
            return made

        def result(terms: UpdateTerms, broadcast: Broadcast, total: Vector, members: int) -> SumResult:
            found.totals[broadcast.round] = total.copy()
            return result_of(terms, broadcast, total, members)

        patch.setattr(UpdateTerms, "vector", vector)
        patch.setattr(UpdateTerms, "result", result)
        return found

    def equal_plain_sums(self, records: Sequence[Mapping[str, Any]]) -> list[bool]:
        """Return for each of the rounds whether its sum is that of its clients' vectors, to the bit."""
        return [
            np.array_equal(
                self.totals[record["round"]],
                plain_sum(self.vectors[record["round"]], tuple(each["client"] for each in record["clients"])),
            )
            for record in records
        ]


class Sums:
    """A run of ``count`` sites; ``updates``: by site, what its vector is encoded from."""

    def __init__(self, folder: Path, count: int, threshold: int, values: int = 7, run: str = "run") -> None:
        self.folder = folder
        self.names = NAMES[:count]
        self.identities = {name: Identity(bytes([at + 1]) * 32) for at, name in enumerate(self.names)}
        pinned = {name: identity.public for name, identity in self.identities.items()}
        self.agreement = SumAgreement(run, pinned, threshold)
        self.layout = Layout((Entry("w", (values,), 0.5), Entry("b", (), 2.0)), count, 1000)
        self.counts = {name: 10 * (at + 1) for at, name in enumerate(self.names)}
        generator = torch.Generator().manual_seed(0)
        self.updates = {
            name: {
                "w": torch.randn(values, generator=generator) * 0.3,
                "b": torch.randn((), generator=generator),
            }
            for name in self.names
        }

    def plan(self, number: int = 1, model: float = 0.0) -> RoundPlan:
        """The round as every site computes it from the same model."""
        return RoundPlan(number, hash_model({"w": torch.full((3,), model)}), self.layout)

    def site(self, name: str) -> Site:
        """A site as after a restart of its process."""
        return Site(self.agreement, name, self.identities[name], self.folder / name)

    def vector(self, name: str) -> Vector:
        """A site's vector before it is masked."""
        return encode_update(self.layout, self.updates[name], self.counts[name])

    def vectors(self) -> dict[str, Vector]:
        """The vectors of all sites."""
        return {name: self.vector(name) for name in self.names}

    def answer(self, stage: Stage, name: str, request: bytes, plan: RoundPlan) -> bytes:
        """A site's answer."""
        site = self.site(name)
        if stage is Stage.BEGIN:
            return site.begin(request, plan)
        if stage is Stage.MASK:
            return b"".join(site.mask(request, self.vector(name)))
        return {Stage.SHARE: site.share, Stage.CONSENT: site.consent, Stage.UNMASK: site.unmask}[stage](request)

    def coordinator(self, plan: RoundPlan) -> Coordinator:
        """A coordinator at the start of the round."""
        return Coordinator(self.agreement, plan)

    def until(
        self,
        stage: Stage | None,
        plan: RoundPlan,
        *,
        answers: Callable[[Stage, str], bool] = lambda stage, name: True,
        seen: list[tuple[Stage, str, bytes, bytes]] | None = None,
        coordinator: Coordinator | None = None,
    ) -> Coordinator:
        """Run the round up to the requests of ``stage`` (None: to its end); ``seen`` takes what passes the server."""
        coordinator = coordinator or self.coordinator(plan)
        while coordinator.stage is not stage and coordinator.stage is not None:
            current = coordinator.stage
            for name, request in coordinator.requests().items():
                if answers(current, name):
                    reply = self.answer(current, name, request, plan)
                    coordinator.receive(name, reply)
                    if seen is not None:
                        seen.append((current, name, request, reply))
            coordinator.advance()
        return coordinator


def refused(work: Callable[[], object]) -> str:
    """The one-line reason of a refusal, which the coordinator may see."""
    with pytest.raises(FedfrError) as caught:
        work()
    assert "\n" not in str(caught.value)
    assert caught.value.shareable == str(caught.value) or caught.value.shareable == STOPPED
    return str(caught.value)
