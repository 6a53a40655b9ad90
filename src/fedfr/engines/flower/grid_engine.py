"""Engine that exchanges messages with clients on other machines over a Flower Grid."""

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
from fedfr.engines.flower.site_state import ANSWERED, LATE, REFUSED, TRAINING, SiteStatus, StatusCallback
from fedfr.engines.flower.wire import broadcast_records, largest_reply, read_reply
from fedfr.federation.messages import Broadcast, Failure, Update

__all__ = ["FlowerEngine"]

TRAIN = "train"
# Most private prototypes that a client may return under a method that reveals them.
MOST_IDENTITIES = 100_000
_NONE: Mapping[str, torch.Tensor] = {}
_NEVER: Mapping[str, int] = {}


class FlowerEngine:
    """Sends broadcasts to sites and collects their replies, through the SuperLink behind ``grid``.

    Between rounds only the known nodes are kept, so a new Flower run continues where the journal ends. ``agreement``
    and ``public`` are the fingerprints of :class:`~fedfr.engines.flower.node_registry.NodeRegistry`. The first round
    waits for all clients, later ones only for those that are connected. ``note`` receives one line per rejected or
    lost message, ``watch`` the status of every client's site. ``owners``: the client that each node's key is
    registered for, where keys are required. ``busy``: the other run that a site is working for, by client.
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
        watch: StatusCallback = lambda client, status: None,
    ) -> None:
        self._requests = NodeRequests(grid, note, pause=waits.poll, clock=clock)
        self._registry = NodeRegistry(
            self._requests,
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
        self._join_timeout = waits.join

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing: the nodes stay connected and wait for the next run."""

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
        nodes, self._join_timeout = self._registry.find_nodes(clients, self._join_timeout), 0.0
        for client, found in nodes.items():
            if isinstance(found, str):
                yield Failure(client, found)
            else:
                self._watch(client, SiteStatus(TRAINING, round=broadcast.round))
        records = broadcast_records(broadcast, self._agreement, identities, accepted)
        requests = {
            client: NodeRequest(node, TRAIN, records.get(client, records[None]))
            for client, node in nodes.items()
            if isinstance(node, int)
        }
        most = largest_reply(broadcast, self._most_identities)
        for client, answer in self._requests.ask(requests, self._waits.deadline, f"round {broadcast.round}", most):
            if isinstance(answer, LostReply):
                state = LATE if answer.late else REFUSED
                self._watch(client, SiteStatus(state, answer.reason, broadcast.round))
                yield Failure(client, answer.reason)
                continue
            try:
                reply = read_reply(answer, client, most)
            except FedfrError as error:
                reply = Failure(client, str(error))
            state, why = (REFUSED, reply.reason) if isinstance(reply, Failure) else (ANSWERED, "")
            self._watch(client, SiteStatus(state, why, broadcast.round))
            yield reply
            del answer, reply
