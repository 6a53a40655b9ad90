"""Rounds over a Flower Grid: the same server's loop, the same clients, on machines of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Self

import torch
from flwr.serverapp import Grid

from fedfr.config.schema import DeploymentConfig
from fedfr.core.errors import FedfrError
from fedfr.engines.flower.node_registry import Busy, NodeRegistry, Owners
from fedfr.engines.flower.requests import Clock, LostReply, NodeRequest, NodeRequests
from fedfr.engines.flower.site_state import ANSWERED, LATE, REFUSED, TRAINING, Standing, Watch
from fedfr.engines.flower.wire import broadcast_records, largest_reply, read_reply
from fedfr.federation.messages import Broadcast, Failure, Update

__all__ = ["FlowerEngine"]

TRAIN = "train"
# As many private prototypes may come back from a client whose method reveals them.
MOST_IDENTITIES = 100_000
_NONE: Mapping[str, torch.Tensor] = {}
_NEVER: Mapping[str, int] = {}


class FlowerEngine:
    """Brings broadcasts to sites and their answers back, through the SuperLink that ``grid`` leads to.

    Nothing is kept between rounds but who was there: a new Flower run goes on where the journal ends. ``agreement`` and
    ``public`` are the fingerprints of :class:`~fedfr.engines.flower.node_registry.NodeRegistry`. The first round waits
    for all clients, later ones only for those that are connected. ``note`` is told, a line each, of whatever did not
    fit, ``watch`` of how every client's site stands. ``owners``: which client each node's key is registered for, where
    keys are asked for. ``busy``: what sites are at work on for other runs, by client.
    """

    def __init__(
        self,
        grid: Grid,
        clients: Collection[str],
        agreement: str,
        public: str,
        waits: DeploymentConfig,
        *,
        reveals_identities: bool = False,
        note: Callable[[str], None] = lambda text: None,
        clock: Clock = time,
        owners: Owners | None = None,
        busy: Busy = dict,
        watch: Watch = lambda client, standing: None,
    ) -> None:
        self._post = NodeRequests(grid, note, pause=waits.poll, clock=clock)
        self._roll = NodeRegistry(
            self._post,
            clients,
            agreement,
            public,
            seconds=waits.hello,
            note=note,
            owners=owners,
            busy=busy,
            most_busy=waits.deadline,
            watch=watch,
        )
        self._watch = watch
        self._agreement = agreement
        self._waits = waits
        self._most_identities = MOST_IDENTITIES if reveals_identities else 0
        self._patience = waits.join

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """The nodes stay connected; they wait for the next run."""

    def exchange(
        self,
        broadcast: Broadcast,
        clients: Sequence[str],
        identities: Mapping[str, torch.Tensor] = _NONE,
        accepted: Mapping[str, int] = _NEVER,
    ) -> Iterator[Update | Failure]:
        """Yield one update or failure per client, as they arrive; a failure after ``deployment.deadline`` seconds.

        Raises :class:`FedfrError` when the SuperLink does not answer.
        """
        nodes, self._patience = self._roll.call(clients, self._patience), 0.0
        for client, found in nodes.items():
            if isinstance(found, str):
                yield Failure(client, found)
            else:
                self._watch(client, Standing(TRAINING, round=broadcast.round))
        records = broadcast_records(broadcast, self._agreement, identities, accepted)
        letters = {
            client: NodeRequest(node, TRAIN, records.get(client, records[None]))
            for client, node in nodes.items()
            if isinstance(node, int)
        }
        most = largest_reply(broadcast, self._most_identities)
        for client, answer in self._post.ask(letters, self._waits.deadline, f"round {broadcast.round}", most):
            if isinstance(answer, LostReply):
                state = LATE if answer.late else REFUSED
                self._watch(client, Standing(state, answer.reason, broadcast.round))
                yield Failure(client, answer.reason)
                continue
            try:
                reply = read_reply(answer, client, most)
            except FedfrError as error:
                reply = Failure(client, str(error))
            state, why = (REFUSED, reply.reason) if isinstance(reply, Failure) else (ANSWERED, "")
            self._watch(client, Standing(state, why, broadcast.round))
            yield reply
            del answer, reply
