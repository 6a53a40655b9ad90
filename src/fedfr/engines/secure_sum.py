"""Engines whose server receives the clients' updates as a secure sum only.

Clients train as with another engine, but keep their updates; what they send are the stages of
:mod:`fedfr.privacy.secure_sum`. The server is given the mean of the clients in the sum as the update of each of them,
so that its checks and its average stay as they are: the average of equal updates is the same. The number of images of a
client is then the mean number, the only one that is known. What is summed is in :mod:`fedfr.engines.sum_terms`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from fedfr.core.errors import FedfrError
from fedfr.engines.sum_terms import SumTerms
from fedfr.federation.engine import Engine, RoundLostError
from fedfr.federation.messages import Broadcast, Failure, Update
from fedfr.privacy.secure_sum import (
    CoordinatorRecord,
    RoundPlan,
    Site,
    SumLostError,
    run_sum,
)
from fedfr.privacy.secure_sum.fixed_point import Vector
from fedfr.privacy.secure_sum.stage_messages import Pieces, Stage

__all__ = ["SecureSumEngine", "answer_stage"]


class SecureSumEngine(ABC):
    """Has the clients of ``engine`` train, which keep their updates, and runs the secure sum of each round.

    ``records``: the coordinator's folder. A round whose sum is lost is skipped; if too few clients have trained, it is
    not begun, and can be repeated.
    """

    def __init__(self, engine: Engine, records: Path, terms: SumTerms) -> None:
        self._engine = engine
        self._record = CoordinatorRecord(records / terms.agreement.run)
        self._terms = terms

    def exchange(
        self,
        broadcast: Broadcast,
        clients: Sequence[str],
        identities: Mapping[str, torch.Tensor],
        accepted: Mapping[str, int],
    ) -> Iterator[Update | Failure]:
        """Yield the mean of the clients in the sum as the update of each, and a failure for every other client.

        Raises :class:`RoundLostError` after the last failure if the sum is lost.
        """
        agreement = self._terms.agreement
        # Before clients train: some charge a ledger for it.
        plan = self._terms.plan(broadcast) if self._terms.expected(broadcast) else None
        ready, reasons = dict[str, Update](), dict[str, str]()
        for reply in self._engine.exchange(broadcast, clients, identities, accepted):
            if plan is None:
                yield reply
            elif isinstance(reply, Update):
                ready[reply.client] = reply
            else:
                reasons[reply.client] = reply.reason
        if plan is None:
            return
        if not ready or (len(ready) < agreement.fewest and not self._record.has(plan)):
            few = f"{len(ready)} of {len(clients)} clients have trained, and a secure sum needs {agreement.fewest}"
            yield from _failures(clients, reasons, few)
            return

        def answers(stage: Stage, requests: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
            asked = {client: requests[client] for client in sorted(requests.keys() & ready.keys())}
            for client, answer in self._answers(broadcast, plan, stage, asked):
                if isinstance(answer, Failure):
                    reasons[client] = answer.reason
                else:
                    yield client, answer
                del answer

        try:
            total, members = run_sum(self._record, agreement, plan, answers, reasons.__setitem__)
        except SumLostError as error:
            self._finish([*ready], ())
            yield from _failures(clients, reasons, str(error))
            raise RoundLostError(str(error)) from error
        try:
            result = self._terms.result(broadcast, total, len(members))
        except FedfrError as error:
            self._finish([*ready], ())
            yield from _failures(clients, reasons, str(error))
            raise RoundLostError(f"the secure sum of round {plan.round} is rejected: {error}") from error
        del total  # The server needs the memory for its average.
        self._finish([*ready], members)
        counts = dict(zip(members, result.counts, strict=True))
        # In the order in which the server averages: a reply that is early waits on its disk.
        for client in sorted({*clients, *members}):
            if client not in counts:
                yield from _failures([client], reasons, "it is not in the secure sum")
                continue
            # One that is away now may have sent its vector before the server was restarted.
            update = ready.get(client, Update(broadcast.round, client, {}, None, 0))
            yield replace(update, weights=result.weights, prototypes=result.prototypes, count=counts[client])
        # The server has stored the rounds before this one.
        self._record.remove_before(plan.round)

    @abstractmethod
    def _answers(
        self, broadcast: Broadcast, plan: RoundPlan, stage: Stage, requests: Mapping[str, bytes]
    ) -> Iterator[tuple[str, bytes | Failure]]:
        """Yield the answers of clients to the requests of a stage; a client without one is dropped."""

    @abstractmethod
    def _finish(self, ready: Sequence[str], members: Sequence[str]) -> None:
        """Take note that a sum is finished or lost: ``ready`` are the clients that trained, ``members`` those in it."""


def _failures(clients: Iterable[str], reasons: Mapping[str, str], otherwise: str) -> Iterator[Failure]:
    return (Failure(client, reasons.get(client, otherwise)) for client in sorted(clients))


def answer_stage(
    site: Site, stage: Stage, request: bytes, plan: Callable[[], RoundPlan], vector: Callable[[], Vector]
) -> Pieces:
    """Return a site's answer to a stage, in pieces; ``plan`` and ``vector`` are called in the stages that need them."""
    if stage is Stage.BEGIN:
        return [site.begin(request, plan())]
    if stage is Stage.MASK:
        return site.mask(request, vector())
    return [{Stage.SHARE: site.share, Stage.CONSENT: site.consent, Stage.UNMASK: site.unmask}[stage](request)]
