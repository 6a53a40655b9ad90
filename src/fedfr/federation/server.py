"""The server's loop: the same whether clients run in this process, in workers, or on other machines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from fedfr.config.schema import FederationConfig
from fedfr.core.decimals import exact
from fedfr.core.errors import FedfrError
from fedfr.core.rng import numpy_generator
from fedfr.federation.aggregation import Change, StreamingAverage, check_update
from fedfr.federation.engine import Engine
from fedfr.federation.journal import Journal
from fedfr.federation.messages import PROTOTYPES, Broadcast, Failure, named, size_of
from fedfr.federation.method import Generic, Method, identities_of
from fedfr.federation.reply_order import in_client_order
from fedfr.federation.server_optimizer import optimizer_step
from fedfr.federation.update_format import restore
from fedfr.training.finite import first_not_finite

__all__ = ["Server", "sample_clients"]


def accepted_rounds(records: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """By client, the last of these finished rounds that has its update; ``records`` are a journal's, in order."""
    return {report["client"]: int(record["round"]) for record in records for report in record.get("clients", ())}


def sample_clients(clients: Sequence[str], share: float, seed: int, round_number: int) -> list[str]:
    """At least one client, ⌈share · C⌉ of them, drawn without replacement; the ids come back sorted."""
    count = max(1, math.ceil(exact(share) * len(clients)))
    if count >= len(clients):
        return sorted(clients)
    drawn = numpy_generator(seed, "participation", round_number).choice(len(clients), count, replace=False)
    return sorted(sorted(clients)[index] for index in drawn)


@dataclass
class Server:
    """Runs the rounds of one method.

    ``shared``: by round, the backbone's entries that travel; ``statistics``: those that are BatchNorm's running
    statistics. ``on_event`` sees every event as a flat mapping; ``on_round`` every new model.
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
    on_round: Callable[[int, Generic], Mapping[str, Any]] = field(default=lambda round_number, generic: {})
    _accepted: dict[str, int] = field(default_factory=dict, init=False)

    def run(self, start: Generic) -> Generic:
        """Run or resume all rounds; returns the last generic model.

        Raises :class:`FedfrError` when a round stays below the quorum; the rounds before it stand and can be resumed.
        """
        entry = self.journal.latest()
        if entry is None:
            self.journal.commit(0, start, dict(self.on_round(0, start)))
            generic, done = start, 0
        else:
            generic, done = entry.generic, entry.round
            self._accepted = accepted_rounds(self.journal.records())
        for number in range(done + 1, self.method.rounds(self.federation.rounds) + 1):
            started = time.perf_counter()
            generic, record = self._round(number, generic)
            seconds = round(time.perf_counter() - started, 3)
            record |= self.on_round(number, generic)
            # Before the commit: killed between the two, the round is repeated and its events are cut off.
            self.on_event({"event": "round", "round": number, **record["totals"], "seconds": seconds})
            self.journal.commit(number, generic, record)
            self._accepted |= accepted_rounds([{"round": number, **record}])
        return generic

    def _kept(self, generic: Generic) -> dict[str, torch.Tensor]:
        """What the server remembers, without prototypes of clients that take part no more."""
        revealed = {name for name in generic.kept if name.startswith(identities_of(""))}
        left = revealed - {identities_of(client) for client in self.clients}
        return {name: own for name, own in generic.kept.items() if name not in left}

    def _round(self, number: int, generic: Generic) -> tuple[Generic, dict[str, Any]]:
        method, shared = self.method, self.shared(number)
        participation = self.federation.participation if method.shares_in(number, self.federation.rounds) else 1.0
        asked = sample_clients(self.clients, participation, self.seed, number)
        expected = {name: value for name, value in generic.weights.items() if name in shared}
        prototypes = generic.prototypes if method.uses_public_prototypes and shared else None
        dim = generic.prototypes.shape[1] if method.reveals_identities and shared else None
        sent = expected if prototypes is None else {**expected, PROTOTYPES: prototypes}
        change = Change(sent, self.statistics, self.federation.largest_change)
        average, refused = StreamingAverage(), list[str]()
        reports, revealed = list[dict[str, Any]](), dict[str, torch.Tensor]()

        def refuse(client: str, reason: str) -> None:
            refused.append(reason)
            self.on_event({"event": "refused", "round": number, "client": client, "reason": reason})

        broadcast = Broadcast(number, generic.weights, generic.prototypes)
        known = {client: generic.kept[name] for client in asked if (name := identities_of(client)) in generic.kept}
        told = method.reveals_identities or self.federation.updates != "full"
        replies = self.engine.exchange(broadcast, asked, known, self._accepted if told else {})
        for reply in in_client_order(replies, asked, self.journal.folder, refuse):
            client = reply.client
            try:
                if isinstance(reply, Failure):
                    raise FedfrError(f"{client} failed in round {number}: {reply.reason}")
                carried, update = size_of(reply), restore(reply, broadcast, self.federation.updates)
                # One model in memory, not the one that travelled as well.
                del reply
                most = self.federation.largest_count
                check_update(update, number, expected, prototypes, identities=dim, largest_count=most)
                change.check(update)
            except FedfrError as error:
                refuse(client, str(error))
                continue
            average.add(named(update), update.count)
            if update.identities is not None:
                revealed[identities_of(client)] = update.identities.clone()
            traffic = {"bytes/up": carried, "bytes/down": size_of(broadcast)}
            report = {"client": client, "count": update.count, **update.metrics, **traffic}
            reports.append(report)
            self.on_event({"event": "update", "round": number, **report})
            del update
        needed = max(1, math.ceil(exact(self.federation.quorum) * len(asked)))
        if len(reports) < needed:
            raise FedfrError(
                f"round {number}: {len(reports)} of {len(asked)} clients delivered, the quorum is {needed}; "
                f"mend the cause and resume. First reason: {refused[0] if refused else 'none'}"
            )
        merged = average.result()
        new_prototypes = merged.pop(PROTOTYPES, generic.prototypes)
        if not self.federation.average_prototypes:
            new_prototypes = generic.prototypes
        mean = Generic({**generic.weights, **merged}, new_prototypes, {**self._kept(generic), **revealed})
        mean = optimizer_step(generic, mean, self.federation.server, self.statistics)
        stepped = method.server_step(generic, mean)
        _check_finite(stepped, number)
        images = sum(int(report["count"]) for report in reports)
        totals = {"clients": len(reports), "refused": len(refused), "images": images}
        return stepped, {"clients": reports, "refused": refused, "totals": totals}


def _check_finite(generic: Generic, number: int) -> None:
    """Raise before a model is kept that is no number: the rounds before it could then never be gone on from."""
    named = {PROTOTYPES: generic.prototypes, **{f"kept {name}": value for name, value in generic.kept.items()}}
    name = first_not_finite({**generic.weights, **named})
    if name is not None:
        raise FedfrError(
            f"round {number}: the server's step made {name} NaN or infinite; lower federation.server.learning_rate or "
            "the learning rate of the method's own step"
        )
