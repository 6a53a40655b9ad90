"""Rounds over a Grid: one answer for each client asked, whatever nodes and messages do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from tests.support.grid import Answers, FakeGrid, Node, says

from fedfr.config.schema import DeploymentConfig, FederationConfig
from fedfr.core.errors import FedfrError
from fedfr.engines.flower.grid_engine import FlowerEngine
from fedfr.engines.flower.site_state import SiteStatus
from fedfr.engines.flower.wire import read_broadcast, reply_records
from fedfr.federation.journal import Journal
from fedfr.federation.messages import Broadcast, Failure, Hello, Update
from fedfr.federation.method import GenericModel
from fedfr.federation.server import Server
from fedfr.methods import METHODS

CLIENTS = ["east", "north", "south"]
AGREEMENT, PUBLIC = "a" * 64, "p" * 64
WEIGHTS = {"w": torch.ones(3), "bn.num_batches_tracked": torch.tensor(4)}
BROADCAST = Broadcast(1, WEIGHTS, torch.ones(2, 4))
START = "start `fedfr site run` there; `fedfr site check` shows what is missing"
WAITS = DeploymentConfig(join=100, hello=10, deadline=50, poll=1)


def hello(client: str, agreement: str = AGREEMENT, public: str = PUBLIC) -> Callable[[Message], Answers]:
    return says(Hello(client, agreement, public, "0.1.0"))


def trains(client: str, after: float = 5.0, factor: float = 1.0) -> Callable[[Message], Answers]:
    def answers(message: Message) -> Answers:
        number = read_broadcast(message.content, AGREEMENT).round
        weights = {"w": factor * WEIGHTS["w"], "bn.num_batches_tracked": WEIGHTS["bn.num_batches_tracked"]}
        return [(after, reply_records(Update(number, client, weights, None, 10, {"epochs": 1.0})))]

    return answers


def three() -> dict[int, Node]:
    return {number: Node(hello(client), trains(client)) for number, client in enumerate(CLIENTS, 11)}


class Made:
    """An engine over a fake grid, and what it noted."""

    def __init__(
        self,
        nodes: dict[int, Node],
        public: str = PUBLIC,
        grid: FakeGrid | None = None,
        owners: Callable[[], Mapping[int, str]] | None = None,
        busy: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self.stood: dict[str, list[str]] = {client: [] for client in CLIENTS}
        self.grid = grid or FakeGrid(nodes)
        self.notes: list[str] = []
        self.engine = FlowerEngine(
            self.grid,
            CLIENTS,
            AGREEMENT,
            public,
            WAITS,
            log=self.notes.append,
            clock=self.grid.clock,
            owners=owners,
            busy=busy,
            on_status=self.watch,
        )

    def watch(self, client: str, standing: SiteStatus) -> None:
        if self.stood[client][-1:] != [standing.state]:
            self.stood[client].append(standing.state)

    def round(self, number: int = 1, **identities: torch.Tensor) -> dict[str, Update | Failure]:
        """What each client's answer is; none may be missing or there twice."""
        replies = list(self.engine.exchange(Broadcast(number, WEIGHTS, torch.ones(2, 4)), CLIENTS, identities))
        assert sorted(reply.client for reply in replies) == CLIENTS
        return {reply.client: reply for reply in replies}


def reasons(replies: dict[str, Update | Failure]) -> dict[str, str]:
    return {client: reply.reason for client, reply in replies.items() if isinstance(reply, Failure)}


def test_everybody_answers_in_the_order_of_arrival() -> None:
    made = Made({1: Node(hello("north"), trains("north", 9)), 2: Node(hello("east"), trains("east", 2)), **three()})
    del made.grid.nodes[11], made.grid.nodes[12]
    replies = list(made.engine.exchange(BROADCAST, CLIENTS))
    assert [reply.client for reply in replies] == ["east", "south", "north"]
    assert all(isinstance(reply, Update) for reply in replies)
    assert made.notes == []


def test_a_node_is_asked_once_who_it_is() -> None:
    made = Made(three())
    for number in (1, 2, 3):
        assert reasons(made.round(number)) == {}
    assert made.grid.nodes[11].asked == ["query.hello", "train", "train", "train"]


def test_only_whom_it_concerns_receives_private_prototypes() -> None:
    seen: dict[str, torch.Tensor | None] = {}

    def note(client: str) -> Callable[[Message], Answers]:
        def answers(message: Message) -> Answers:
            seen[client] = read_broadcast(message.content, AGREEMENT).identities
            return trains(client)(message)

        return answers

    made = Made({number: Node(hello(client), note(client)) for number, client in enumerate(CLIENTS)})
    made.round(north=torch.full((1, 4), 2.0))
    assert seen["east"] is seen["south"] is None
    assert torch.equal(torch.full((1, 4), 2.0), seen["north"] if seen["north"] is not None else torch.empty(0))


def test_the_first_round_waits_for_all_and_later_ones_do_not() -> None:
    nodes = three()
    late = nodes.pop(13)
    made = Made(nodes)
    assert reasons(made.round(1)) == {"south": f"its site is not connected (for 100 s); {START}"}
    assert made.grid.clock.now >= WAITS.join
    begun = made.grid.clock.now
    assert reasons(made.round(2)) == {"south": f"its site is not connected (for 105 s); {START}"}
    assert made.grid.clock.now - begun < 10
    made.grid.nodes[99] = late
    assert reasons(made.round(3)) == {}


def test_no_answer_within_the_deadline_is_a_failure_and_a_late_one_is_dropped() -> None:
    nodes = three()
    nodes[12].train = trains("north", 70)
    made = Made(nodes)
    assert reasons(made.round(1)) == {"north": "no reply within 50 s"}
    made.grid.clock.now += 30
    nodes[12].train = trains("north", 1)
    second = made.round(2)
    assert reasons(second) == {}
    assert [reply.round for reply in second.values() if isinstance(reply, Update)] == [2, 2, 2]
    assert made.notes == ["a late reply was discarded: north (round 1)"]
    assert made.grid.waiting == []


def test_a_second_answer_is_dropped_as_soon_as_it_is_seen() -> None:
    nodes = three()
    nodes[12].train = lambda message: [*trains("north")(message), *trains("north", factor=99.0)(message)]
    made = Made(nodes)
    replies = made.round()
    assert reasons(replies) == {}
    north = replies["north"]
    assert isinstance(north, Update)
    assert torch.equal(north.weights["w"], WEIGHTS["w"])
    assert made.notes == ["an unexpected reply was discarded (round 1)"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (ErrorCode.NODE_UNAVAILABLE, "its node disconnected"),
        (ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "its node stopped with an error; see its own log"),
        (ErrorCode.INVALID_FAB, "its node refused the run's bundle"),
        (77, "Flower reported error 77"),
    ],
)
def test_an_error_belongs_to_the_client_whose_message_it_answers(code: int, reason: str) -> None:
    """It comes from the SuperLink, whose node id no client has; its text may hold a path and is not repeated."""
    nodes = three()
    nodes[12].train = lambda message: [(3.0, Error(code, "/home/north/person-03.png is damaged"))]
    assert reasons(Made(nodes).round()) == {"north": reason}


def test_a_failure_is_told_as_the_client_says_it() -> None:
    nodes = three()
    nodes[13].train = says(Failure("south", "it stopped; its own log says why"))
    assert reasons(Made(nodes).round()) == {"south": "it stopped; its own log says why"}


def test_an_answer_in_another_clients_name_counts_for_nobody() -> None:
    nodes = three()
    nodes[13].train = trains("north", factor=99.0)
    replies = Made(nodes).round()
    assert reasons(replies) == {"south": "reply of south refused: client is 'north'"}
    assert isinstance(replies["north"], Update)


def test_a_message_that_cannot_be_sent_is_a_failure() -> None:
    made = Made(three())
    made.round(1)
    made.grid.unsendable = {12}
    assert reasons(made.round(2)) == {"north": "the request could not be sent to its node"}


def test_two_living_nodes_of_one_client_are_both_refused() -> None:
    made = Made({**three(), 14: Node(hello("north"), trains("north"))})
    assert reasons(made.round()) == {
        "north": "nodes 12 and 14 both claim to be this client (for 99 s); stop one of them"
    }
    del made.grid.nodes[14]
    assert reasons(made.round(2)) == {}


def test_a_node_that_came_back_under_another_number_takes_its_own_place() -> None:
    """Flower has not noticed yet that the old one is dead: it does not answer when it is asked again."""
    nodes = three()
    made = Made(nodes)
    made.round(1)
    nodes[12].hello = lambda message: []
    nodes[12].train = lambda message: []
    nodes[77] = Node(hello("north"), trains("north"))
    assert reasons(made.round(2)) == {}
    assert nodes[77].asked == ["query.hello", "query.hello", "train"]


@pytest.mark.parametrize(
    ("answer", "public", "reason"),
    [
        (hello("north", agreement="b" * 64), PUBLIC, "its site has agreement bbbbbbbbbbbb, this run has aaaaaaaaaaaa"),
        (hello("north", public=""), PUBLIC, "its site has no public faces, which the method needs"),
        (hello("north", public="q" * 64), PUBLIC, r"its site has other public faces \(qqqqqqqqqqqq, this run's are"),
    ],
)
def test_a_site_that_does_not_fit_is_told_before_the_round(
    answer: Callable[[Message], Answers], public: str, reason: str
) -> None:
    nodes = three()
    nodes[12].hello = answer
    made = Made(nodes, public=public)
    found = reasons(made.round())
    assert found.keys() == {"north"}
    assert re.match(reason, found["north"])
    assert "train" not in nodes[12].asked
    # It is mended, and needs no new number to be asked again.
    nodes[12].hello = hello("north")
    assert reasons(made.round(2)) == {}


@pytest.mark.parametrize(
    "before",
    [
        hello("north", agreement="b" * 64),
        hello("north", public=""),
        says(Failure("north", "there is no agreement.yaml; put the coordinator's file there")),
    ],
)
def test_the_first_round_waits_for_a_site_that_is_about_to_be_mended(before: Callable[[Message], Answers]) -> None:
    """The agreement of a new run is on its way to a site that is connected already."""
    nodes = three()
    made = Made(nodes)

    def mended_after_a_minute(message: Message) -> Answers:
        return (hello("north") if made.grid.clock.now > 60 else before)(message)

    nodes[12].hello = mended_after_a_minute
    assert reasons(made.round()) == {}
    assert 60 <= made.grid.clock.now < 100
    # Not every two seconds: a question starts a process there.
    assert 3 <= nodes[12].asked.count("query.hello") <= 8
    assert nodes[11].asked == ["query.hello", "train"]


def test_a_node_whose_key_was_taken_away_is_not_asked_again() -> None:
    nodes, owners = three(), dict(enumerate(CLIENTS, 11))
    made = Made(nodes, owners=lambda: owners)
    assert reasons(made.round(1)) == {}
    del owners[12]
    assert reasons(made.round(2))["north"].startswith("its site is not connected")
    assert made.notes == ["node 12 claims to be 'north' but has an unregistered key; it is ignored"]
    owners[12] = "east"
    assert reasons(made.round(3))["north"].startswith("its site is not connected")
    assert nodes[12].asked.count("train") == 1


def test_a_slow_machine_takes_part_as_soon_as_it_has_answered() -> None:
    """Every answer takes longer than it may, by far: each counts when it comes, and nobody is asked ten times."""
    nodes = {
        number: Node(says(Hello(client, AGREEMENT, PUBLIC, "0.1.0"), after=35.0), trains(client, after=20.0))
        for number, client in enumerate(CLIENTS, 11)
    }
    made = Made(nodes, owners=lambda: dict(enumerate(CLIENTS, 11)))
    assert reasons(made.round(1)) == {}
    assert made.stood["south"] == ["asked", "silent", "ready", "training", "answered"]
    assert nodes[11].asked.count("query.hello") <= 3
    assert "node 11 has not identified its client: no reply within 10 s" in made.notes
    assert reasons(made.round(2)) == {}


def test_what_keeps_a_site_away_is_told_apart() -> None:
    """Absent, silent, busy with another run, unable and under another agreement: each with how long and what to do."""
    south = Node(lambda message: [])
    made = Made({13: south}, owners=lambda: dict(enumerate(CLIENTS, 11)))
    found = reasons(made.round(1))
    assert re.fullmatch(rf"its site is not connected \(for 1\d\d s\); {START}", found["north"])
    assert re.fullmatch(
        r"its site is connected but does not reply \(for \d+ s\); check its log and the load of its machine",
        found["south"],
    )
    before = made.grid.clock.now
    found = reasons(made.round(2))
    assert re.match(r"its site is connected but does not reply \(for \d+ s\)", found["south"])
    assert made.grid.clock.now == before, "later rounds do not wait for it"

    work = {"south": "round 3 of first, since 14:02"}
    made = Made({13: south}, owners=lambda: {13: "south"}, busy=lambda: work)
    found = reasons(made.round(1))
    assert found["south"].startswith("its site is connected and busy with round 3 of first, since 14:02 (for ")
    # Not counted for as long as a round may take, looked at every ten seconds; then it is waited for as others are.
    assert made.grid.clock.now == WAITS.deadline - 10 + WAITS.join

    def unable(message: Message) -> Answers:
        return [(1.0, reply_records(Failure("south", "there are no faces")))]

    made = Made({13: Node(unable), 12: Node(hello("north", "b" * 64))}, owners=lambda: {13: "south", 12: "north"})
    found = reasons(made.round(1))
    assert found["south"].startswith("its site is connected and cannot take part: there are no faces (for ")
    assert found["north"].startswith("its site has agreement bbbbbbbbbbbb, this run has aaaaaaaaaaaa (for ")
    assert found["north"].endswith("; give it this run's file")
    assert [stood[-1] for stood in made.stood.values()] == ["not connected", "other agreement", "cannot take part"]


def test_a_site_that_is_busy_takes_part_when_it_is_free() -> None:
    """It answers nothing while it trains for another run, longer than all are waited for; then it takes part."""

    def at_work(message: Message) -> Answers:
        free = max(120.0 - made.grid.clock.now, 0.0)
        return [(free + 1, reply_records(Hello("south", AGREEMENT, PUBLIC, "0.1.0")))]

    nodes = three()
    nodes[13] = Node(at_work, trains("south"))
    work = {"south": "round 3 of first"}
    made = Made(nodes, owners=lambda: dict(enumerate(CLIENTS, 11)), busy=lambda: work)
    assert reasons(made.round(1)) == {}
    assert made.stood["south"] == ["busy", "ready", "training", "answered"]


def test_a_method_without_public_faces_asks_nobody_for_them() -> None:
    nodes = {number: Node(hello(client, public=""), trains(client)) for number, client in enumerate(CLIENTS)}
    assert reasons(Made(nodes, public="").round()) == {}


def test_strangers_and_mumblers_are_noted_and_left_alone() -> None:
    nodes = {
        **three(),
        20: Node(hello("west")),
        21: Node(lambda message: []),
        22: Node(says(Failure("", "it stopped; its own log says why"))),
        23: Node(says(Update(1, "east", {}, None, 1))),
    }
    made = Made(nodes)
    assert reasons(made.round()) == {}
    assert made.notes[:3] == [
        "node 20 claims to be 'west', which is not a client of this run",
        "node 22 cannot identify its client: it stopped; its own log says why",
        "message of node 23 refused: expected a message of kind 'Hello' or 'Failure', received 'Update'",
    ]
    assert made.notes[3:] == ["node 21 has not identified its client: no reply within 10 s"]


def test_a_superlink_that_does_not_answer_ends_the_run_with_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(three())

    def refuse(*arguments: Any) -> Any:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(made.grid, "get_node_ids", refuse)
    with pytest.raises(FedfrError, match=r"the SuperLink does not answer \(ConnectError\); start it and resume"):
        made.round()


class Garbled(FakeGrid):
    """What the node 12 answers cannot be put together."""

    def pull_messages(self, message_ids: Any) -> Any:
        found = list(super().pull_messages(message_ids))
        if any(reply.metadata.src_node_id == 12 and reply.metadata.message_type == "train" for reply in found):
            raise IndexError("list index out of range")
        return found


def test_bytes_that_flower_cannot_read_are_one_clients_failure() -> None:
    grid = Garbled(three())
    made = Made(grid.nodes, grid=grid)
    assert reasons(made.round()) == {"north": "its reply cannot be read"}
    assert made.notes == ["a reply that is not a Flower message was discarded (IndexError)"]


class Dripping(FakeGrid):
    """What ends as an error of Flower's took longer to arrive than anybody has."""

    def pull_messages(self, message_ids: Any) -> Any:
        found = list(super().pull_messages(message_ids))
        self.clock.now += 1000 * any(reply.has_error() for reply in found)
        return found


def test_whoever_answered_in_time_counts_whatever_another_answer_took() -> None:
    nodes = {**three(), 11: Node(hello("east"), lambda message: [(1.0, Error(ErrorCode.MESSAGE_UNAVAILABLE, ""))])}
    grid = Dripping(nodes)
    lost = "the message to it was lost, or its reply was incomplete or too large"
    assert reasons(Made(nodes, grid=grid).round()) == {"east": lost}
    assert grid.clock.now > 1000


class Watched(FakeGrid):
    """Counts the answers that are in memory at a time."""

    most = 0

    def pull_messages(self, message_ids: Any) -> Any:
        found = list(super().pull_messages(message_ids))
        self.most = max(self.most, len(found))
        return found


def test_one_answer_is_fetched_at_a_time() -> None:
    grid = Watched(three())
    made = Made(grid.nodes, grid=grid)
    assert reasons(made.round()) == {}
    assert grid.most == 1


def server(engine: FlowerEngine, folder: Path, quorum: float, events: list[Mapping[str, Any]]) -> Server:
    method = METHODS["fedavg"]({})
    federation = FederationConfig(rounds=2, quorum=quorum)
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


def test_the_servers_loop_goes_on_with_the_quorum_and_resumes(tmp_path: Path) -> None:
    nodes = three()
    nodes[12].train = lambda message: [(3.0, Error(ErrorCode.NODE_UNAVAILABLE, ""))]
    nodes[13].train = trains("south", factor=4.0)
    events: list[Mapping[str, Any]] = []
    start = GenericModel(WEIGHTS, torch.ones(2, 4))
    with pytest.raises(FedfrError, match="round 1: 2 of 3 clients delivered, the quorum is 3"):
        server(Made(nodes).engine, tmp_path / "all", 1.0, events).run(start)
    events.clear()
    result = server(Made(nodes).engine, tmp_path / "half", 0.5, events).run(start)
    assert torch.equal(result.weights["w"], torch.full((3,), 2.5))
    assert result.weights["bn.num_batches_tracked"].dtype == torch.int64
    refused = [event["reason"] for event in events if event["event"] == "refused"]
    assert refused == [f"north failed in round {number}: its node disconnected" for number in (1, 2)]
    # A new run, a new engine, the same journal: nothing is left to do, nobody is asked.
    again = three()
    server(Made(again).engine, tmp_path / "half", 0.5, events).run(start)
    assert again[11].asked == []
