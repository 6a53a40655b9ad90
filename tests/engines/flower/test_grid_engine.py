"""Rounds over a simulated grid: exactly one update or failure per client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from tests.support.engine_bench import (
    AGREEMENT,
    BROADCAST,
    CLIENTS,
    SETTINGS,
    WEIGHTS,
    EngineBench,
    hello,
    reasons,
    three_nodes,
    trains,
)
from tests.support.grid import Answers, FakeGrid, Node, says

from fedfr.config.schema import FederationConfig, Report
from fedfr.core.errors import FedfrError
from fedfr.engines.flower.grid_engine import FlowerEngine
from fedfr.engines.flower.wire import read_broadcast
from fedfr.federation.journal import Journal
from fedfr.federation.messages import Failure, Update
from fedfr.federation.method import GenericModel
from fedfr.federation.server import Server
from fedfr.methods import METHODS


def test_replies_are_yielded_in_the_order_of_arrival() -> None:
    bench = EngineBench(
        {1: Node(hello("north"), trains("north", 9)), 2: Node(hello("east"), trains("east", 2)), **three_nodes()}
    )
    del bench.grid.nodes[11], bench.grid.nodes[12]
    replies = list(bench.engine.exchange(BROADCAST, CLIENTS))
    assert [reply.client for reply in replies] == ["east", "south", "north"]
    assert all(isinstance(reply, Update) for reply in replies)
    assert bench.logged == []


def test_only_their_client_receives_private_prototypes() -> None:
    seen: dict[str, torch.Tensor | None] = {}

    def record(client: str) -> Callable[[Message], Answers]:
        def reply(message: Message) -> Answers:
            seen[client] = read_broadcast(message.content, AGREEMENT).identities
            return trains(client)(message)

        return reply

    bench = EngineBench({number: Node(hello(client), record(client)) for number, client in enumerate(CLIENTS)})
    bench.round(north=torch.full((1, 4), 2.0))
    assert seen["east"] is seen["south"] is None
    assert torch.equal(torch.full((1, 4), 2.0), seen["north"] if seen["north"] is not None else torch.empty(0))


def test_replies_after_the_deadline_are_failures_and_discarded() -> None:
    nodes = three_nodes()
    nodes[12].train = trains("north", 70)
    bench = EngineBench(nodes)
    assert reasons(bench.round(1)) == {"north": "no reply within 50 s"}
    bench.grid.clock.now += 30
    nodes[12].train = trains("north", 1)
    second = bench.round(2)
    assert reasons(second) == {}
    assert [reply.round for reply in second.values() if isinstance(reply, Update)] == [2, 2, 2]
    assert bench.logged == ["a late reply was discarded: north (round 1)"]
    assert bench.grid.waiting == []


def test_a_second_reply_is_discarded() -> None:
    nodes = three_nodes()
    nodes[12].train = lambda message: [*trains("north")(message), *trains("north", factor=99.0)(message)]
    bench = EngineBench(nodes)
    replies = bench.round()
    assert reasons(replies) == {}
    north = replies["north"]
    assert isinstance(north, Update)
    assert torch.equal(north.weights["w"], WEIGHTS["w"])
    assert bench.logged == ["an unexpected reply was discarded (round 1)"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (ErrorCode.NODE_UNAVAILABLE, "its node disconnected"),
        (ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "its node stopped with an error; see its own log"),
        (ErrorCode.INVALID_FAB, "its node refused the run's bundle"),
        (77, "Flower reported error 77"),
    ],
)
def test_an_error_is_assigned_to_the_client_of_its_request(code: int, reason: str) -> None:
    """The SuperLink sends it, under a node id of no client; its text may contain a path and is not passed on."""
    nodes = three_nodes()
    nodes[12].train = lambda message: [(3.0, Error(code, "/home/north/person-03.png is damaged"))]
    assert reasons(EngineBench(nodes).round()) == {"north": reason}


@pytest.mark.parametrize(
    ("report", "kept"),
    [("none", set()), ("losses", {"loss/total"}), ("all", {"loss/total", "images/private", "seconds"})],
)
def test_metrics_that_the_agreement_does_not_name_are_dropped(report: Report, kept: set[str]) -> None:
    """A site of another version may send them; the server neither stores nor shows them."""
    metrics = {"loss/total": 0.5, "images/private": 12.0, "seconds": 3.0}
    nodes = three_nodes()
    nodes[12].train = says(Update(1, "north", WEIGHTS, None, 3, metrics))
    settings = SETTINGS.model_copy(update={"report": report})
    north = EngineBench(nodes, settings=settings).round()["north"]
    assert isinstance(north, Update)
    assert north.metrics == {name: metrics[name] for name in kept}


def test_a_clients_failure_keeps_its_reason() -> None:
    nodes = three_nodes()
    nodes[13].train = says(Failure("south", "it stopped; its own log says why"))
    assert reasons(EngineBench(nodes).round()) == {"south": "it stopped; its own log says why"}


def test_a_reply_in_another_clients_name_is_refused() -> None:
    nodes = three_nodes()
    nodes[13].train = trains("north", factor=99.0)
    replies = EngineBench(nodes).round()
    assert reasons(replies) == {"south": "reply of south refused: client is 'north'"}
    assert isinstance(replies["north"], Update)


def test_a_message_that_cannot_be_sent_is_a_failure() -> None:
    bench = EngineBench(three_nodes())
    bench.round(1)
    bench.grid.unsendable = {12}
    assert reasons(bench.round(2)) == {"north": "the request could not be sent to its node"}


def test_an_unreachable_superlink_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = EngineBench(three_nodes())

    def refuse(*arguments: Any) -> Any:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(bench.grid, "get_node_ids", refuse)
    with pytest.raises(FedfrError, match=r"the SuperLink does not answer \(ConnectError\); start it and resume"):
        bench.round()


class UnreadableGrid(FakeGrid):
    """Grid on which the reply of node 12 cannot be decoded."""

    def pull_messages(self, message_ids: Any) -> Any:
        found = list(super().pull_messages(message_ids))
        if any(reply.metadata.src_node_id == 12 and reply.metadata.message_type == "train" for reply in found):
            raise IndexError("list index out of range")
        return found


def test_an_undecodable_reply_fails_one_client() -> None:
    grid = UnreadableGrid(three_nodes())
    bench = EngineBench(grid.nodes, grid=grid)
    assert reasons(bench.round()) == {"north": "its reply cannot be read"}
    assert bench.logged == ["a reply that is not a Flower message was discarded (IndexError)"]


class SlowGrid(FakeGrid):
    """Grid on which a reply with an error takes longer than the deadline to read."""

    def pull_messages(self, message_ids: Any) -> Any:
        found = list(super().pull_messages(message_ids))
        self.clock.now += 1000 * any(reply.has_error() for reply in found)
        return found


def test_replies_in_time_count_even_if_another_takes_long_to_read() -> None:
    nodes = {
        **three_nodes(),
        11: Node(hello("east"), lambda message: [(1.0, Error(ErrorCode.MESSAGE_UNAVAILABLE, ""))]),
    }
    grid = SlowGrid(nodes)
    lost = "the message to it was lost, or its reply was incomplete or too large"
    assert reasons(EngineBench(nodes, grid=grid).round()) == {"east": lost}
    assert grid.clock.now > 1000


class CountingGrid(FakeGrid):
    """Grid that records the largest number of replies fetched at once."""

    most = 0

    def pull_messages(self, message_ids: Any) -> Any:
        found = list(super().pull_messages(message_ids))
        self.most = max(self.most, len(found))
        return found


def test_one_reply_is_fetched_at_a_time() -> None:
    grid = CountingGrid(three_nodes())
    bench = EngineBench(grid.nodes, grid=grid)
    assert reasons(bench.round()) == {}
    assert grid.most == 1


def server(engine: FlowerEngine, folder: Path, quorum: float, events: list[Mapping[str, Any]]) -> Server:
    method = METHODS["fedavg"]({})
    federation = FederationConfig(rounds=2, quorum=quorum, prototypes="share")
    return Server(
        method,
        engine,
        Journal(folder),
        federation,
        CLIENTS,
        lambda number: frozenset(WEIGHTS),
        0,
        on_event=events.append,
    )


def test_the_server_continues_with_the_quorum_and_resumes(tmp_path: Path) -> None:
    nodes = three_nodes()
    nodes[12].train = lambda message: [(3.0, Error(ErrorCode.NODE_UNAVAILABLE, ""))]
    nodes[13].train = trains("south", factor=4.0)
    events: list[Mapping[str, Any]] = []
    start = GenericModel(WEIGHTS, torch.ones(2, 4))
    with pytest.raises(FedfrError, match="round 1: 2 of 3 clients delivered, the quorum is 3"):
        server(EngineBench(nodes).engine, tmp_path / "all", 1.0, events).run(start)
    events.clear()
    result = server(EngineBench(nodes).engine, tmp_path / "half", 0.5, events).run(start)
    assert torch.equal(result.weights["w"], torch.full((3,), 2.5))
    assert result.weights["bn.num_batches_tracked"].dtype == torch.int64
    refused = [event["reason"] for event in events if event["event"] == "refused"]
    assert refused == [f"north failed in round {number}: its node disconnected" for number in (1, 2)]
    # A new engine with the same journal: the run is complete, so no node is asked.
    again = three_nodes()
    server(EngineBench(again).engine, tmp_path / "half", 0.5, events).run(start)
    assert again[11].asked == []
