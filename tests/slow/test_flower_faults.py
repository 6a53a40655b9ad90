"""Faults in real processes: a hanging site, a broken connection, a full disk, a dishonest site."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from tests.support.federation import Federation, group

from fedfr.deployment.address import Address
from fedfr.deployment.background import wait_for
from fedfr.engines.local import LocalEngine
from fedfr.experiments.method_run import clients_engine
from fedfr.federation.messages import Broadcast, Failure, Update

pytestmark = pytest.mark.slow

NOBODY: Mapping[str, torch.Tensor] = {}
NEVER: Mapping[str, int] = {}
LIES = (
    ("weights={n: v[:1] for n, v in reply.weights.items() if v.dim()}", "update of {}: entries missing"),
    ("weights={n: v * float('nan') for n, v in reply.weights.items()}", "update of {}: "),
    ("weights={n: 10**6 * v for n, v in reply.weights.items()}", "update of {}: its weights changed by"),
    ("client='client-01'", "reply of client-02 refused: client is 'client-01'"),
    ("round=77", "update of {}: round is 77"),
    ("weights={**reply.weights, 'more': torch.zeros(1 << 26)}", "client-02"),
)
"""A false reply for every round, and the start of what is said about it."""
LIAR = """
import sys
import fedfr.engines.flower.site_handlers as answers
from fedfr.engines.flower.wire import reply_records
from fedfr.federation.messages import Update
from dataclasses import replace
import torch

LIES = [lambda reply: LIE]

def lie(reply):
    return reply_records(LIES[reply.round - 1](reply) if isinstance(reply, Update) else reply)

answers.reply_records = lie
sys.argv[0] = "flwr-clientapp"
from flwr.supernode.cli.flwr_clientapp import flwr_clientapp
flwr_clientapp()
""".replace("lambda reply: LIE", ", ".join(f"lambda reply: replace(reply, {lie})" for lie, _ in LIES))


class Cable:
    """Connection between one site and the SuperLink that can be interrupted and restored.

    ``watch`` is told the direction, "up" or "down", and the size of all that comes by, before it is carried on.
    """

    def __init__(self, far: Address, watch: Callable[[str, int], None] = lambda direction, size: None) -> None:
        self.far = far
        self.watch = watch
        self.server = socket.create_server(("127.0.0.1", 0))
        self.near = Address("127.0.0.1", self.server.getsockname()[1])
        self.whole = threading.Event()
        self.whole.set()
        # Set when the site has tried in vain to connect.
        self.missed = threading.Event()
        self.ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break all connections and accept no new ones."""
        self.whole.clear()
        for end in self.ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.ends.clear()

    def close(self) -> None:
        """Close the connection."""
        self.cut()
        self.server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.server.accept()
                if not self.whole.is_set():
                    near.close()
                    self.missed.set()
                    continue
                far = socket.create_connection((self.far.host, self.far.port))
                self.ends += [near, far]
                for ends in ((near, far, "up"), (far, near, "down")):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket, direction: str) -> None:
        with suppress(OSError):
            while content := one.recv(1 << 16):
                self.watch(direction, len(content))
                other.sendall(content)
            other.shutdown(socket.SHUT_WR)


class Without(LocalEngine):
    """An engine that gets no reply from some clients."""

    def __init__(self, engine: LocalEngine, gone: Sequence[str]) -> None:
        self.__dict__ = engine.__dict__
        self.gone = gone

    def exchange(
        self,
        broadcast: Broadcast,
        clients: Sequence[str],
        identities: Mapping[str, torch.Tensor] = NOBODY,
        accepted: Mapping[str, int] = NEVER,
    ) -> Iterator[Update | Failure]:
        yield from (Failure(client, "it is gone") for client in self.gone)
        others = [client for client in clients if client not in self.gone]
        yield from super().exchange(broadcast, others, identities, accepted)


@pytest.fixture
def made(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Federation]:
    with Federation(tmp_path, *request.param) as federation:
        yield federation


def reasons(made: Federation) -> list[str]:
    return [event["reason"] for event in made.events("refused")]


@pytest.mark.parametrize(
    "made", [("local.epochs=3", "federation.rounds=6", "deployment.deadline=45", "deployment.hello=20")], indirect=True
)
def test_a_hanging_site_delays_a_round_by_one_deadline(made: Federation) -> None:
    """Stopped in training, it misses the round; continued, its late reply is dropped and it takes part again.

    How many rounds it takes to catch up is up to the load of the machine.
    """
    made.start_run()
    wait_for(lambda: made.works("client-02"), "training at client-02")
    stopped = group(made.processes["client-02"].pid)
    for process in stopped:
        os.kill(process, signal.SIGSTOP)
    wait_for(lambda: bool(made.events("refused")), "the deadline")
    for process in stopped:
        os.kill(process, signal.SIGCONT)
    wait_for(made.finished, "the end of the run")
    first, *others = reasons(made)
    # Flower notices 20 to 50 s after a node's last sign of life that it has gone; the deadline says so after 45 s.
    noticed = {f"client-02 failed in round 1: {reason}" for reason in ("no reply within 45 s", "its node disconnected")}
    assert first in noticed
    assert [reason for reason in others if not reason.startswith("client-02 failed in round ")] == []
    clients = [event["clients"] for event in made.events("round")]
    assert (clients[0], clients[-1]) == (2, 3)


@pytest.mark.parametrize(
    "made", [("federation.rounds=2", "deployment.deadline=90", "split.settings.clients=4")], indirect=True
)
def test_sites_that_are_killed_during_a_message(made: Federation) -> None:
    """All processes of two are killed, halfway through the broadcast and the reply: the run equals one without them.

    That is noticed before the deadline, and the next round does not ask for them.
    """
    gone = {"client-02": "down", "client-04": "up"}

    def cable(client: str, direction: str) -> Cable:
        passed = {"down": 0, "up": 0}

        def watch(way: str, size: int) -> None:
            # Half a megabyte: much more than it takes to say hello, much less than a model.
            passed[way] += size
            if passed[direction] > 500_000 and client in made.processes:
                made.end(client)

        return Cable(made.link, watch)

    made.local.run(engine=lambda method_run: Without(clients_engine(method_run), [*gone]))
    made.start_link()
    cables = {client: cable(client, direction) for client, direction in gone.items()}
    try:
        for client in made.sites:
            made.start_site(client, cables[client].near if client in gone else None)
        made.control.submit("demo")
        wait_for(made.finished, "the end of the run")
    finally:
        for one in cables.values():
            one.close()
    first, second = (
        dict(reason.split(f" failed in round {number}: ") for reason in reasons(made) if f"round {number}:" in reason)
        for number in (1, 2)
    )
    assert first.keys() == second.keys() == gone.keys()
    # Which of the two Flower notices first is up to its clocks.
    noticed = {"its node disconnected", "the message to it was lost, or its reply was incomplete or too large"}
    assert {*first.values()} <= noticed
    assert all(reason.startswith("its site is not connected") for reason in second.values())
    assert [event["clients"] for event in made.events("round")] == [2, 2]
    trained = {client: bool(list(made.private(client).rglob("*.safetensors"))) for client in gone}
    assert trained == {"client-02": False, "client-04": True}
    expected, theirs = made.expected(), made.tensors()
    lost = tuple(f"clients/{client}/" for client in gone)
    rest = {name: value for name, value in theirs.items() if not name.startswith(lost)}
    assert len(expected) > 500
    assert expected == rest


@pytest.mark.parametrize("made", [("federation.rounds=3", "local.epochs=5")], indirect=True)
def test_a_connection_that_is_interrupted_and_restored(made: Federation) -> None:
    """Interrupted during training until the site misses it, and restored: no refusal, bits and results of a local run.

    Not until the end of the training: on a busy machine Flower gives a node up before.
    """
    rows = made.local.run()
    made.start_link()
    cable = Cable(made.link)
    try:
        made.start_site("client-02", cable.near)
        for client in ("client-01", "client-03"):
            made.start_site(client)
        made.control.submit("demo")
        wait_for(lambda: made.works("client-02"), "training at client-02")
        cable.cut()
        wait_for(cable.missed.is_set, "the site's attempt to connect")
        cable.whole.set()
        wait_for(made.finished, "the end of the run")
    finally:
        cable.close()
    assert reasons(made) == []
    expected, found = made.expected(), made.tensors()
    assert len(expected) > 1000
    assert expected.keys() == found.keys()
    assert [name for name, value in expected.items() if found[name] != value] == []
    generic = [row for row in rows if row.protocol.startswith("generic")]
    assert generic
    assert made.remote.results() == generic


@pytest.mark.parametrize("made", [("federation.rounds=2",)], indirect=True)
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_at_a_site(made: Federation) -> None:
    """Its round fails with the reason in its own log only; with free space it takes part in the next round."""
    private = made.private("client-02")
    private.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "fedfr-test", str(private)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    try:
        made.start_run()
        wait_for(lambda: bool(made.events("refused")), "the refusal")
        subprocess.run(["mount", "-o", "remount,size=500m", str(private)], check=True)
        wait_for(made.finished, "the end of the run")
        assert reasons(made) == ["client-02 failed in round 1: it stopped; its own log says why"]
        assert [event["clients"] for event in made.events("round")] == [2, 3]
        log = (made.sites["client-02"].parent / "log.jsonl").read_text("utf-8")
        assert "No space left on device" in log
        assert '"client": "client-02"' in log
    finally:
        for name in [*made.processes]:
            made.kill(name)
        subprocess.run(["umount", str(private)], check=True)


@pytest.mark.parametrize("made", [(f"federation.rounds={len(LIES)}",)], indirect=True)
def test_a_dishonest_site_is_named_and_refused(made: Federation) -> None:
    """A registered site with other code: its replies are refused, and the others finish every round."""
    programs = made.folder / "programs"
    programs.mkdir(parents=True)
    (programs / "liar.py").write_text(LIAR, encoding="utf-8")
    program = programs / "flwr-clientapp"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{programs / "liar.py"}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    made.start_link()
    made.start_site("client-02", programs=programs)
    for client in ("client-01", "client-03"):
        made.start_site(client)
    made.control.submit("demo")
    wait_for(made.finished, "the end of the run")
    found = reasons(made)
    assert len(found) == len(LIES)
    for number, (reason, (_, said)) in enumerate(zip(found, LIES, strict=True), 1):
        assert "client-02" in reason
        assert said.format(f"client-02 for round {number} refused") in reason
    assert [event["clients"] for event in made.events("round")] == [2] * len(LIES)
