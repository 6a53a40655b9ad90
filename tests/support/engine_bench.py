"""A Flower engine over a simulated grid with the sites east, north and south."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from flwr.app import Message
from tests.support.grid import Answers, FakeGrid, Node, says

from fedfr.config.schema import DeploymentConfig
from fedfr.engines.flower.grid_engine import FlowerEngine
from fedfr.engines.flower.site_state import SiteStatus
from fedfr.engines.flower.wire import read_broadcast, reply_records
from fedfr.federation.messages import Broadcast, Failure, Hello, Update

__all__ = [
    "AGREEMENT",
    "BROADCAST",
    "CLIENTS",
    "PUBLIC",
    "SETTINGS",
    "START",
    "WEIGHTS",
    "EngineBench",
    "hello",
    "reasons",
    "three_nodes",
    "trains",
]

CLIENTS = ["east", "north", "south"]
AGREEMENT, PUBLIC = "a" * 64, "p" * 64
WEIGHTS = {"w": torch.ones(3), "bn.num_batches_tracked": torch.tensor(4)}
BROADCAST = Broadcast(1, WEIGHTS, torch.ones(2, 4))
START = "start `fedfr site run` there; `fedfr site check` shows what is missing"
SETTINGS = DeploymentConfig(join=100, hello=10, deadline=50, poll=1)


def hello(client: str, agreement: str = AGREEMENT, public: str = PUBLIC) -> Callable[[Message], Answers]:
    return says(Hello(client, agreement, public, "0.1.0"))


def trains(client: str, after: float = 5.0, factor: float = 1.0) -> Callable[[Message], Answers]:
    def reply(message: Message) -> Answers:
        number = read_broadcast(message.content, AGREEMENT).round
        weights = {"w": factor * WEIGHTS["w"], "bn.num_batches_tracked": WEIGHTS["bn.num_batches_tracked"]}
        return [(after, reply_records(Update(number, client, weights, None, 10, {"epochs": 1.0})))]

    return reply


def three_nodes() -> dict[int, Node]:
    return {number: Node(hello(client), trains(client)) for number, client in enumerate(CLIENTS, 11)}


class EngineBench:
    """An engine over a simulated grid, with its log lines and the states that each client's site went through."""

    def __init__(
        self,
        nodes: dict[int, Node],
        public: str = PUBLIC,
        grid: FakeGrid | None = None,
        owners: Callable[[], Mapping[int, str]] | None = None,
        busy: Callable[[], Mapping[str, str]] = dict,
        settings: DeploymentConfig = SETTINGS,
    ) -> None:
        self.states: dict[str, list[str]] = {client: [] for client in CLIENTS}
        self.grid = grid or FakeGrid(nodes)
        self.logged: list[str] = []
        self.engine = FlowerEngine(
            self.grid,
            CLIENTS,
            AGREEMENT,
            public,
            settings,
            log=self.logged.append,
            clock=self.grid.clock,
            owners=owners,
            busy=busy,
            on_status=self.on_status,
        )

    def on_status(self, client: str, status: SiteStatus) -> None:
        if self.states[client][-1:] != [status.state]:
            self.states[client].append(status.state)

    def round(self, number: int = 1, **identities: torch.Tensor) -> dict[str, Update | Failure]:
        """Run a round; return the reply of each client, of which there must be exactly one."""
        replies = list(self.engine.exchange(Broadcast(number, WEIGHTS, torch.ones(2, 4)), CLIENTS, identities))
        assert sorted(reply.client for reply in replies) == CLIENTS
        return {reply.client: reply for reply in replies}


def reasons(replies: dict[str, Update | Failure]) -> dict[str, str]:
    return {client: reply.reason for client, reply in replies.items() if isinstance(reply, Failure)}
