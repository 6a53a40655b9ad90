"""Engine that exchanges messages with clients on other machines over a Flower Grid."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Self

import torch
from flwr.app import RecordDict
from flwr.serverapp import Grid

from fedfr.config.schema import DeploymentConfig
from fedfr.core.errors import FedfrError
from fedfr.engines.flower.node_registry import Busy, NodeRegistry, Owners
from fedfr.engines.flower.requests import Clock, LostReply, NodeRequest, NodeRequests
from fedfr.engines.flower.site_state import ANSWERED, LATE, REFUSED, TRAINING, SiteStatus, StatusCallback
from fedfr.engines.flower.wire import (
    broadcast_records,
    is_busy,
    largest_reply,
    read_reply,
    read_stage_reply,
    stage_records,
)
from fedfr.federation.messages import Broadcast, Failure, Update, reported
from fedfr.privacy.secure_sum.stage_messages import Stage

__all__ = ["FlowerEngine"]

TRAIN, STAGE = "train", "query.stage"
# Largest number of private prototypes in a reply, under a method that reveals them.
MAX_IDENTITIES = 100_000
_NONE: Mapping[str, torch.Tensor] = {}
_NEVER: Mapping[str, int] = {}


class FlowerEngine:
    """Sends broadcasts to sites and collects their replies, through the SuperLink behind ``grid``.

    Between rounds it keeps only the known nodes, so a new Flower run can continue where the journal ends. ``agreement``
    and ``public`` are the fingerprints of :class:`~fedfr.engines.flower.node_registry.NodeRegistry`. The first round
    waits up to ``settings.join`` seconds for all clients, later rounds only use those that are connected. ``log``
    receives one line per rejected or lost message, ``on_status`` the status of every client's site. Metrics
    beyond ``settings.report``, from sites of another version, are dropped. ``least``: number of clients without which
    a round is useless; a round waits for that many, too, and clients without a reply are asked again until the
    deadline. None if any number will do. ``owners``: returns
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
        least: int | None = None,
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
        self._least = least
        # By kind of request, the usual time until its reply.
        self._usual: dict[str, float] = {}

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
        if self._least is not None:
            nodes = self._registry.find_nodes(clients, self._settings.join, enough=self._least)
        for client, found in nodes.items():
            if isinstance(found, str):
                yield Failure(client, found)
            else:
                self._on_status(client, SiteStatus(TRAINING, round=broadcast.round))
        records = broadcast_records(broadcast, self._agreement, identities, accepted)
        found_nodes = {client: node for client, node in nodes.items() if isinstance(node, int)}
        contents = {client: records.get(client, records[None]) for client in found_nodes}
        max_bytes = largest_reply(broadcast, self._max_identities)
        deadline, occasion = self._settings.deadline, f"round {broadcast.round}"
        if self._least is None:
            requests = {client: NodeRequest(node, TRAIN, contents[client]) for client, node in found_nodes.items()}
            answers = self._requests.ask(requests, deadline, occasion, max_bytes)
        else:
            answers = self._repeated(TRAIN, broadcast.round, contents, deadline, occasion, max_bytes)
        for client, answer in answers:
            if isinstance(answer, LostReply):
                state = LATE if answer.late else REFUSED
                self._on_status(client, SiteStatus(state, answer.reason, broadcast.round))
                yield Failure(client, answer.reason)
                continue
            try:
                reply = read_reply(answer, client, max_bytes)
                if isinstance(reply, Update):
                    reply = reported(reply, self._settings.report)
            except FedfrError as error:
                reply = Failure(client, str(error))
            state, why = (REFUSED, reply.reason) if isinstance(reply, Failure) else (ANSWERED, "")
            self._on_status(client, SiteStatus(state, why, broadcast.round))
            yield reply
            del answer, reply

    def ask_stage(
        self, stage: Stage, number: int, requests: Mapping[str, bytes], max_bytes: int
    ) -> Iterator[tuple[str, bytes | Failure]]:
        """Send the requests of a stage of a secure sum, and yield an answer, not yet checked, or a failure by client.

        A client without a reply after ``deployment.stage_deadline`` seconds has none.
        """
        contents = {client: stage_records(self._agreement, stage, request) for client, request in requests.items()}
        occasion = f"round {number}, stage {stage}"
        for client, answer in self._repeated(
            STAGE, number, contents, self._settings.stage_deadline, occasion, max_bytes
        ):
            reply: bytes | Failure
            if isinstance(answer, LostReply):
                reply = Failure(client, f"stage {stage}: {answer.reason}")
            else:
                try:
                    reply = read_stage_reply(answer, client, max_bytes)
                except FedfrError as error:
                    reply = Failure(client, str(error))
            state, why = (REFUSED, reply.reason) if isinstance(reply, Failure) else (ANSWERED, "")
            self._on_status(client, SiteStatus(state, why, number))
            yield client, reply
            del answer, reply

    def _repeated(
        self, kind: str, number: int, contents: Mapping[str, RecordDict], seconds: float, occasion: str, max_bytes: int
    ) -> Iterator[tuple[str, RecordDict | LostReply]]:
        """Ask the clients, and those that do not reply again, as a site that was restarted has lost the request.

        Slow sites are given twice the time that such a request usually takes, because they answer one request after the
        other; but not so much that a site that was killed late is not asked in time.
        """

        def requests(clients: Collection[str]) -> dict[str, NodeRequest]:
            found = self._registry.find_nodes(clients, 0.0)
            nodes = {client: node for client, node in found.items() if isinstance(node, int)}
            for client in nodes:
                self._on_status(client, SiteStatus(TRAINING, round=number))
            return {client: NodeRequest(node, kind, contents[client]) for client, node in nodes.items()}

        clock = self._requests.clock
        started, times = clock.monotonic(), []
        pause = max(self._settings.hello, min(2 * self._usual.get(kind, 0.0), seconds / 8))
        for client, answer in self._requests.ask_repeatedly(
            [*contents], requests, seconds, pause, occasion, max_bytes, is_busy
        ):
            if not isinstance(answer, LostReply):
                times.append(clock.monotonic() - started)
            yield client, answer
            del answer
        if times:
            self._usual[kind] = statistics.median(times)
