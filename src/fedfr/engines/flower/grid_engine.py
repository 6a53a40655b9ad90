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
# Largest number of private prototypes in a reply, under a method that reveals them.
MAX_IDENTITIES = 100_000
_NONE: Mapping[str, torch.Tensor] = {}
_NEVER: Mapping[str, int] = {}


class FlowerEngine:
    """Sends broadcasts to sites and collects their replies, through the SuperLink behind ``grid``.

    Between rounds it keeps only the known nodes, so a new Flower run can continue where the journal ends. ``agreement``
    and ``public`` are the fingerprints of :class:`~fedfr.engines.flower.node_registry.NodeRegistry`. The first round
    waits up to ``settings.join`` seconds for all clients, later rounds only use those that are connected. ``log``
    receives one line per rejected or lost message, ``on_status`` the status of every client's site. ``owners``: returns
    the client for which each node's key is registered; None if keys are not required. ``busy``: returns the other run
    that a site is working for, by client.
    """

    def __init__(
        self,
        grid: Grid,
        clients: Collection[str],
        agreement: str,
        public: str,
        settings: DeploymentConfig,
        *,
        reveals_identities: bool = False,
        log: Callable[[str], None] = lambda text: None,
        clock: Clock = time,
        owners: Owners | None = None,
        busy: Busy = dict,
        on_status: StatusCallback = lambda client, status: None,
    ) -> None:
        self._requests = NodeRequests(grid, log, pause=settings.poll, clock=clock)
        self._registry = NodeRegistry(
            self._requests,
            clients,
            agreement,
            public,
            seconds=settings.hello,
            log=log,
            owners=owners,
            busy=busy,
            max_busy=settings.deadline,
            on_status=on_status,
        )
        self._on_status = on_status
        self._agreement = agreement
        self._settings = settings
        self._max_identities = MAX_IDENTITIES if reveals_identities else 0
        self._join_timeout = settings.join

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
        """Yield one update or failure per client in the order of arrival.

        ``identities``: private prototypes to send, by client. ``accepted``: last accepted round, by client. A client
        without a reply after ``deployment.deadline`` seconds counts as failed. Raises :class:`FedfrError` if the
        SuperLink does not answer.
        """
        nodes, self._join_timeout = self._registry.find_nodes(clients, self._join_timeout), 0.0
        for client, found in nodes.items():
            if isinstance(found, str):
                yield Failure(client, found)
            else:
                self._on_status(client, SiteStatus(TRAINING, round=broadcast.round))
        records = broadcast_records(broadcast, self._agreement, identities, accepted)
        requests = {
            client: NodeRequest(node, TRAIN, records.get(client, records[None]))
            for client, node in nodes.items()
            if isinstance(node, int)
        }
        max_bytes = largest_reply(broadcast, self._max_identities)
        for client, answer in self._requests.ask(
            requests, self._settings.deadline, f"round {broadcast.round}", max_bytes
        ):
            if isinstance(answer, LostReply):
                state = LATE if answer.late else REFUSED
                self._on_status(client, SiteStatus(state, answer.reason, broadcast.round))
                yield Failure(client, answer.reason)
                continue
            try:
                reply = read_reply(answer, client, max_bytes)
            except FedfrError as error:
                reply = Failure(client, str(error))
            state, why = (REFUSED, reply.reason) if isinstance(reply, Failure) else (ANSWERED, "")
            self._on_status(client, SiteStatus(state, why, broadcast.round))
            yield reply
            del answer, reply
