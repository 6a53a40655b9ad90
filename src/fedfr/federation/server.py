"""The server's loop, independent of where clients run: in this process, in workers, or on other machines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from fedfr.config.schema import FederationConfig
from fedfr.core.client_ids import POOLED
from fedfr.core.decimals import exact_fraction
from fedfr.core.errors import FedfrError
from fedfr.core.rng import numpy_generator
from fedfr.federation.aggregation import Aggregate, ChangeLimit, StreamingAverage, check_update
from fedfr.federation.engine import Engine, RoundLostError
from fedfr.federation.journal import Journal
from fedfr.federation.messages import PROTOTYPES, Broadcast, Failure, Update, size_of, tensors_by_name
from fedfr.federation.method import GenericModel, Method, revealed_key
from fedfr.federation.reply_order import in_client_order
from fedfr.federation.rule_registry import AGGREGATIONS, AggregationRule
from fedfr.federation.server_optimizer import optimizer_step
from fedfr.federation.stored_updates import StoredUpdates
from fedfr.federation.update_format import restore
from fedfr.training.finite import first_not_finite

__all__ = ["LOST", "MOST_LOST", "Server", "sample_clients", "sample_size"]

LOST = "lost"
"""Field of a round's record with the reason why it has no result."""

MOST_LOST = 2
"""Rounds in succession that may be lost: their cause is not likely to pass by itself."""


def accepted_rounds(records: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return, by client, the last of these finished rounds with its update; ``records`` are a journal's, in order."""
    return {report["client"]: int(record["round"]) for record in records for report in record.get("clients", ())}


def sample_size(clients: int, share: float) -> int:
    """Return the number of clients that take part in a round: max(1, ⌈share · C⌉) of C."""
    return max(1, math.ceil(exact_fraction(share) * clients))


def sample_clients(clients: Sequence[str], share: float, seed: int, round_number: int) -> list[str]:
    """Draw :func:`sample_size` of the clients without replacement; return their ids sorted."""
    count = sample_size(len(clients), share)
    if count >= len(clients):
        return sorted(clients)
    drawn = numpy_generator(seed, "participation", round_number).choice(len(clients), count, replace=False)
    return sorted(sorted(clients)[index] for index in drawn)


@dataclass
class Server:
    """Runs the rounds of one method.

    ``shared``: by round, the backbone's entries that clients upload; ``statistics``: the running statistics of
    BatchNorm. ``on_event`` receives every event as a flat mapping; ``on_round`` every new model.
    """

    method: Method
    engine: Engine
    journal: Journal
    federation: FederationConfig
    clients: Sequence[str]
    shared: Callable[[int], frozenset[str]]
    seed: int
    statistics: frozenset[str] = frozenset()
    on_event: Callable[[Mapping[str, Any]], None] = field(default=lambda event: None)
    on_round: Callable[[int, GenericModel], Mapping[str, Any]] = field(default=lambda round_number, generic: {})
    _accepted: dict[str, int] = field(default_factory=dict, init=False)

    def run(self, start: GenericModel) -> GenericModel:
        """Run or resume all rounds; return the last generic model.

        Raises :class:`FedfrError` when a round stays below the quorum; earlier rounds are kept and can be resumed. A
        round that is lost leaves the model as it is; after :data:`MOST_LOST` in succession, the run stops.
        """
        entry = self.journal.latest()
        if entry is None:
            self.journal.commit(0, start, dict(self.on_round(0, start)))
            generic, done = start, 0
        else:
            generic, done = entry.generic, entry.round
            self._accepted = accepted_rounds(self.journal.records())
        lost = 0
        last = self.method.rounds(self.federation.rounds)
        for number in range(done + 1, last + 1):
            started = time.perf_counter()
            generic, record = self._round(number, generic)
            lost = lost + 1 if LOST in record else 0
            seconds = round(time.perf_counter() - started, 3)
            record |= self.on_round(number, generic)
            # Before the commit: killed between the two, the round is repeated and its events are cut off.
            self.on_event({"event": "round", "round": number, **record["totals"], "seconds": seconds})
            self.journal.commit(number, generic, record)
            self._accepted |= accepted_rounds([{"round": number, **record}])
            if lost >= MOST_LOST and number < last:
                raise FedfrError(
                    f"{lost} rounds in succession were lost, and the model is that of round {number - lost}; fix the "
                    f"cause and resume with round {number + 1}. Last reason: {record[LOST]}"
                )
        return generic

    def _round(self, number: int, generic: GenericModel) -> tuple[GenericModel, dict[str, Any]]:
        """Run one round: sample clients, exchange models, admit updates, aggregate them, take the server's step.

        A lost round has the model unchanged, and the reason in its record.
        """
        sampled = self._sample(number)
        admission = _Admission(self, number, generic)
        rule = self._rule(admission)
        with self._aggregate(rule, admission) as aggregate:
            replies = self._exchange(admission.broadcast, sampled, generic, admission.refuse)
            try:
                for update in admission.admit(replies):
                    aggregate.add(tensors_by_name(update), update.count)
                    del update  # At most one update is in memory.
                self._check_quorum(number, sampled, admission, rule)
            except RoundLostError as error:
                self.on_event({"event": "lost", "round": number, "reason": str(error)})
                admission.reports.clear()  # No update of a lost round is used.
                return generic, {**admission.record(), LOST: str(error)}
            average = aggregate.result()
        stepped = self._step(number, generic, average, admission.revealed)
        return stepped, admission.record()

    def _rule(self, admission: _Admission) -> AggregationRule:
        """Return the rule of this round: the mean where nothing is shared, and for pooled faces, of one participant.

        The updates of a secure sum are the mean of its clients, which have clipped theirs.
        """
        robust = self._is_federated(admission) and self.federation.secure == "off"
        return AGGREGATIONS[self.federation.aggregation if robust else "mean"]

    def _is_federated(self, admission: _Admission) -> bool:
        return bool(admission.expected) and tuple(self.clients) != (POOLED,)

    def _aggregate(self, rule: AggregationRule, admission: _Admission) -> Aggregate:
        if rule.combine is None:
            return StreamingAverage()
        return StoredUpdates(self.journal.folder, rule, self.federation, admission.expected, self.statistics)

    def _sample(self, number: int) -> list[str]:
        """Draw the clients of a round; all of them in a round in which nothing is shared."""
        shares = self.method.shares_in(number, self.federation.rounds)
        return sample_clients(self.clients, self.federation.participation if shares else 1.0, self.seed, number)

    def _exchange(
        self, broadcast: Broadcast, sampled: Sequence[str], generic: GenericModel, refuse: Callable[[str, str], None]
    ) -> Iterable[Update | Failure]:
        """Send the broadcast to the sampled clients and yield their replies in the order of client ids."""
        state = generic.server_state
        revealed = {client: state[name] for client in sampled if (name := revealed_key(client)) in state}
        needs_accepted = self.method.reveals_identities or self.federation.updates != "full"
        replies = self.engine.exchange(broadcast, sampled, revealed, self._accepted if needs_accepted else {})
        return in_client_order(replies, sampled, self.journal.folder, refuse)

    def _check_quorum(self, number: int, sampled: Sequence[str], admission: _Admission, rule: AggregationRule) -> None:
        """Raise :class:`FedfrError` when fewer updates were admitted than the quorum or the rule requires.

        It is :class:`RoundLostError` if a secure sum is finished: a resumed round would have the same sum.
        """
        quorum = max(1, math.ceil(exact_fraction(self.federation.quorum) * len(sampled)))
        least = rule.least(self.federation)
        if len(admission.reports) < max(quorum, least):
            wanted = f"the quorum is {quorum}"
            if least > quorum:
                wanted = f"federation.aggregation = {self.federation.aggregation} needs {least}"
            reason = admission.refused[0] if admission.refused else "none"
            found = f"round {number}: {len(admission.reports)} of {len(sampled)} clients delivered, {wanted}"
            if self.federation.secure == "sum" and admission.answered and self._is_federated(admission):
                raise RoundLostError(f"{found}; its secure sum is not repeated. First reason: {reason}")
            raise FedfrError(f"{found}; fix the cause and resume. First reason: {reason}")

    def _step(
        self,
        number: int,
        generic: GenericModel,
        average: dict[str, torch.Tensor],
        revealed: Mapping[str, torch.Tensor],
    ) -> GenericModel:
        """Return the next generic model from the present one and the aggregate of the admitted updates."""
        prototypes = average.pop(PROTOTYPES, generic.prototypes)
        mean = GenericModel({**generic.weights, **average}, prototypes, {**self._server_state(generic), **revealed})
        mean = optimizer_step(generic, mean, self.federation.server, self.statistics)
        stepped = self.method.server_step(generic, mean)
        _check_finite(stepped, number)
        return stepped

    def _server_state(self, generic: GenericModel) -> dict[str, torch.Tensor]:
        """Return the server's state without revealed prototypes of clients that no longer take part."""
        revealed = {name for name in generic.server_state if name.startswith(revealed_key(""))}
        departed = revealed - {revealed_key(client) for client in self.clients}
        return {name: value for name, value in generic.server_state.items() if name not in departed}


class _Admission:
    """Checks the replies of one round; holds the reports, the refusals and the revealed prototypes.

    ``answered``: whether there was an update, admitted or not.
    """

    def __init__(self, server: Server, number: int, generic: GenericModel) -> None:
        method, shared = server.method, server.shared(number)
        self.broadcast = Broadcast(number, generic.weights, generic.prototypes)
        self.reports: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.answered = False
        self.revealed: dict[str, torch.Tensor] = {}
        self._server = server
        self._number = number
        self._weights = {name: value for name, value in generic.weights.items() if name in shared}
        shares_prototypes = method.uses_public_prototypes and server.federation.prototypes == "share"
        self._prototypes = generic.prototypes if shares_prototypes and shared else None
        self._dim = generic.prototypes.shape[1] if method.reveals_identities and shared else None

    def admit(self, replies: Iterable[Update | Failure]) -> Iterator[Update]:
        """Yield every update that passes all checks, with its compressed tensors restored; refuse the others."""
        for reply in replies:
            client = reply.client
            try:
                if isinstance(reply, Failure):
                    raise FedfrError(f"{client} failed in round {self._number}: {reply.reason}")
                self.answered = True
                uploaded, update = size_of(reply), restore(reply, self.broadcast, self._server.federation.updates)
                del reply  # Only the restored update stays in memory.
                self._check(update)
            except FedfrError as error:
                self.refuse(client, str(error))
                continue
            self._report(update, uploaded)
            yield update
            del update

    def _check(self, update: Update) -> None:
        largest = self._server.federation.largest_count
        check_update(update, self._number, self._weights, self._prototypes, identities=self._dim, largest_count=largest)
        self._change_limit.check(update)

    def _report(self, update: Update, uploaded: int) -> None:
        if update.identities is not None:
            self.revealed[revealed_key(update.client)] = update.identities.clone()
        traffic = {"bytes/up": uploaded, "bytes/down": size_of(self.broadcast)}
        report = {"client": update.client, "count": update.count, **update.metrics, **traffic}
        self.reports.append(report)
        self._server.on_event({"event": "update", "round": self._number, **report})

    def refuse(self, client: str, reason: str) -> None:
        """Record and report a reply that is not averaged."""
        self.refused.append(reason)
        self._server.on_event({"event": "refused", "round": self._number, "client": client, "reason": reason})

    def record(self) -> dict[str, Any]:
        """Return the round's record for the journal."""
        images = sum(int(report["count"]) for report in self.reports)
        totals = {"clients": len(self.reports), "refused": len(self.refused), "images": images}
        return {"clients": self.reports, "refused": self.refused, "totals": totals}

    @cached_property
    def expected(self) -> Mapping[str, torch.Tensor]:
        """The tensors of the broadcast that clients send back, by name; none in a round in which nothing is shared."""
        prototypes = {} if self._prototypes is None else {PROTOTYPES: self._prototypes}
        return {**self._weights, **prototypes}

    @cached_property
    def _change_limit(self) -> ChangeLimit:
        return ChangeLimit(self.expected, self._server.statistics, self._server.federation.largest_change)


def _check_finite(generic: GenericModel, number: int) -> None:
    """Raise :class:`FedfrError` if a new model holds NaN or infinity; it must not be committed."""
    others = {PROTOTYPES: generic.prototypes}
    others |= {f"kept {name}": value for name, value in generic.server_state.items()}
    name = first_not_finite({**generic.weights, **others})
    if name is not None:
        raise FedfrError(
            f"round {number}: the server's step made {name} NaN or infinite; lower federation.server.learning_rate or "
            "the learning rate of the method's own step"
        )
