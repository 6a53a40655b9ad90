"""Identification of nodes: agreement, public faces, keys, duplicates, silent and busy sites."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flwr.app import Message
from tests.support.engine_bench import (
    AGREEMENT,
    CLIENTS,
    PUBLIC,
    SETTINGS,
    START,
    EngineBench,
    hello,
    reasons,
    three_nodes,
    trains,
)
from tests.support.grid import Answers, Node, says

from fedfr.engines.flower.wire import reply_records
from fedfr.federation.messages import Failure, Hello, Update


def test_a_node_is_asked_once_for_its_client_id() -> None:
    bench = EngineBench(three_nodes())
    for number in (1, 2, 3):
        assert reasons(bench.round(number)) == {}
    assert bench.grid.nodes[11].asked == ["query.hello", "train", "train", "train"]


def test_the_first_round_waits_for_all_and_later_ones_do_not() -> None:
    nodes = three_nodes()
    late = nodes.pop(13)
    bench = EngineBench(nodes)
    assert reasons(bench.round(1)) == {"south": f"its site is not connected (for 100 s); {START}"}
    assert bench.grid.clock.now >= SETTINGS.join
    begun = bench.grid.clock.now
    assert reasons(bench.round(2)) == {"south": f"its site is not connected (for 105 s); {START}"}
    assert bench.grid.clock.now - begun < 10
    bench.grid.nodes[99] = late
    assert reasons(bench.round(3)) == {}


def test_two_live_nodes_of_a_client_are_both_refused() -> None:
    bench = EngineBench({**three_nodes(), 14: Node(hello("north"), trains("north"))})
    assert reasons(bench.round()) == {
        "north": "nodes 12 and 14 both claim to be this client (for 99 s); stop one of them"
    }
    del bench.grid.nodes[14]
    assert reasons(bench.round(2)) == {}


def test_a_node_that_returns_under_another_id_replaces_the_old_one() -> None:
    """Flower has not noticed yet that the old node is dead; it does not reply when it is asked again."""
    nodes = three_nodes()
    bench = EngineBench(nodes)
    bench.round(1)
    nodes[12].hello = lambda message: []
    nodes[12].train = lambda message: []
    nodes[77] = Node(hello("north"), trains("north"))
    assert reasons(bench.round(2)) == {}
    assert nodes[77].asked == ["query.hello", "query.hello", "train"]


@pytest.mark.parametrize(
    ("answer", "public", "reason"),
    [
        (hello("north", agreement="b" * 64), PUBLIC, "its site has agreement bbbbbbbbbbbb, this run has aaaaaaaaaaaa"),
        (hello("north", public=""), PUBLIC, "its site has no public faces, which the method needs"),
        (hello("north", public="q" * 64), PUBLIC, r"its site has other public faces \(qqqqqqqqqqqq, this run's are"),
    ],
)
def test_a_mismatch_is_reported_before_the_round(
    answer: Callable[[Message], Answers], public: str, reason: str
) -> None:
    nodes = three_nodes()
    nodes[12].hello = answer
    bench = EngineBench(nodes, public=public)
    found = reasons(bench.round())
    assert found.keys() == {"north"}
    assert re.match(reason, found["north"])
    assert "train" not in nodes[12].asked
    # After the correction the same node is asked again.
    nodes[12].hello = hello("north")
    assert reasons(bench.round(2)) == {}


@pytest.mark.parametrize(
    "before",
    [
        hello("north", agreement="b" * 64),
        hello("north", public=""),
        says(Failure("north", "there is no agreement.yaml; put the coordinator's file there")),
    ],
)
def test_the_first_round_waits_for_a_site_to_be_corrected(before: Callable[[Message], Answers]) -> None:
    """The agreement of a new run is still to be copied to a connected site."""
    nodes = three_nodes()
    bench = EngineBench(nodes)

    def mended_after_a_minute(message: Message) -> Answers:
        return (hello("north") if bench.grid.clock.now > 60 else before)(message)

    nodes[12].hello = mended_after_a_minute
    assert reasons(bench.round()) == {}
    assert 60 <= bench.grid.clock.now < 100
    # Not every two seconds: each request starts a process at the site.
    assert 3 <= nodes[12].asked.count("query.hello") <= 8
    assert nodes[11].asked == ["query.hello", "train"]


def test_a_node_with_an_unregistered_key_is_not_asked_again() -> None:
    nodes, owners = three_nodes(), dict(enumerate(CLIENTS, 11))
    bench = EngineBench(nodes, owners=lambda: owners)
    assert reasons(bench.round(1)) == {}
    del owners[12]
    assert reasons(bench.round(2))["north"].startswith("its site is not connected")
    assert bench.logged == ["node 12 claims to be 'north' but has an unregistered key; it is ignored"]
    owners[12] = "east"
    assert reasons(bench.round(3))["north"].startswith("its site is not connected")
    assert nodes[12].asked.count("train") == 1


def test_a_slow_machine_takes_part_once_it_replies() -> None:
    """Every reply exceeds the time limit by far: each counts when it arrives, and no node is asked ten times."""
    nodes = {
        number: Node(says(Hello(client, AGREEMENT, PUBLIC, "0.1.0"), after=35.0), trains(client, after=20.0))
        for number, client in enumerate(CLIENTS, 11)
    }
    bench = EngineBench(nodes, owners=lambda: dict(enumerate(CLIENTS, 11)))
    assert reasons(bench.round(1)) == {}
    assert bench.states["south"] == ["asked", "silent", "ready", "training", "answered"]
    assert nodes[11].asked.count("query.hello") <= 3
    assert "node 11 has not identified its client: no reply within 10 s" in bench.logged
    assert reasons(bench.round(2)) == {}


def test_reasons_for_an_absent_site() -> None:
    """Absent, silent, busy, unable, other agreement: each reason has a duration and a remedy."""
    south = Node(lambda message: [])
    bench = EngineBench({13: south}, owners=lambda: dict(enumerate(CLIENTS, 11)))
    found = reasons(bench.round(1))
    assert re.fullmatch(rf"its site is not connected \(for 1\d\d s\); {START}", found["north"])
    assert re.fullmatch(
        r"its site is connected but does not reply \(for \d+ s\); check its log and the load of its machine",
        found["south"],
    )
    before = bench.grid.clock.now
    found = reasons(bench.round(2))
    assert re.match(r"its site is connected but does not reply \(for \d+ s\)", found["south"])
    assert bench.grid.clock.now == before, "later rounds do not wait for it"

    work = {"south": "round 3 of first, since 14:02"}
    bench = EngineBench({13: south}, owners=lambda: {13: "south"}, busy=lambda: work)
    found = reasons(bench.round(1))
    assert found["south"].startswith("its site is connected and busy with round 3 of first, since 14:02 (for ")
    # Busy time, checked every ten seconds, does not count up to the deadline; then the usual wait follows.
    assert bench.grid.clock.now == SETTINGS.deadline - 10 + SETTINGS.join

    def unable(message: Message) -> Answers:
        return [(1.0, reply_records(Failure("south", "there are no faces")))]

    bench = EngineBench(
        {13: Node(unable), 12: Node(hello("north", "b" * 64))}, owners=lambda: {13: "south", 12: "north"}
    )
    found = reasons(bench.round(1))
    assert found["south"].startswith("its site is connected and cannot take part: there are no faces (for ")
    assert found["north"].startswith("its site has agreement bbbbbbbbbbbb, this run has aaaaaaaaaaaa (for ")
    assert found["north"].endswith("; give it this run's file")
    assert [states[-1] for states in bench.states.values()] == ["not connected", "other agreement", "cannot take part"]


def test_a_busy_site_takes_part_when_it_is_free() -> None:
    """It trains for another run and does not reply for longer than `join`; then it takes part."""

    def at_work(message: Message) -> Answers:
        free = max(120.0 - bench.grid.clock.now, 0.0)
        return [(free + 1, reply_records(Hello("south", AGREEMENT, PUBLIC, "0.1.0")))]

    nodes = three_nodes()
    nodes[13] = Node(at_work, trains("south"))
    work = {"south": "round 3 of first"}
    bench = EngineBench(nodes, owners=lambda: dict(enumerate(CLIENTS, 11)), busy=lambda: work)
    assert reasons(bench.round(1)) == {}
    assert bench.states["south"] == ["busy", "ready", "training", "answered"]


def test_a_method_without_public_faces_requires_none() -> None:
    nodes = {number: Node(hello(client, public=""), trains(client)) for number, client in enumerate(CLIENTS)}
    assert reasons(EngineBench(nodes, public="").round()) == {}


def test_unknown_and_silent_nodes_are_logged_and_ignored() -> None:
    nodes = {
        **three_nodes(),
        20: Node(hello("west")),
        21: Node(lambda message: []),
        22: Node(says(Failure("", "it stopped; its own log says why"))),
        23: Node(says(Update(1, "east", {}, None, 1))),
    }
    bench = EngineBench(nodes)
    assert reasons(bench.round()) == {}
    assert bench.logged[:3] == [
        "node 20 claims to be 'west', which is not a client of this run",
        "node 22 cannot identify its client: it stopped; its own log says why",
        "message of node 23 refused: expected a message of kind 'Hello' or 'Failure', received 'Update'",
    ]
    assert bench.logged[3:] == ["node 21 has not identified its client: no reply within 10 s"]
