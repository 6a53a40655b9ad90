"""Faults in real processes: a hanging site, a broken connection, a full disk, a dishonest site."""

from __future__ import annotations

import os
import shutil
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
LIAR = """
import sys
import fedfr.engines.flower.site_handlers as answers
from fedfr.engines.flower.wire import reply_records
from fedfr.federation.messages import Update
from dataclasses import replace
import torch

def lie(reply):
    if isinstance(reply, Update):
        {lie}
    return reply_records(reply)

answers.reply_records = lie
sys.argv[0] = "flwr-clientapp"
from flwr.supernode.cli.flwr_clientapp import flwr_clientapp
flwr_clientapp()
"""


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
    """An engine that gets no reply from one client."""

    def __init__(self, engine: LocalEngine, client: str) -> None:
        self.__dict__ = engine.__dict__
        self.client = client

    def exchange(
        self,
        broadcast: Broadcast,
        clients: Sequence[str],
        identities: Mapping[str, torch.Tensor] = NOBODY,
        accepted: Mapping[str, int] = NEVER,
    ) -> Iterator[Update | Failure]:
        yield Failure(self.client, "it is gone")
        others = [client for client in clients if client != self.client]
        yield from super().exchange(broadcast, others, identities, accepted)


@pytest.fixture
def made(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Federation]:
    with Federation(tmp_path, *request.param) as federation:
        yield federation


def reasons(made: Federation) -> list[str]:
    return [event["reason"] for event in made.events("refused")]


@pytest.mark.parametrize(
    "made", [("local.epochs=5", "federation.rounds=3", "deployment.deadline=45", "deployment.hello=20")], indirect=True
)
def test_a_hanging_site_delays_a_round_by_one_deadline(made: Federation) -> None:
    """Stopped in training, it misses the round; continued, its late reply is dropped and it takes part again."""
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
    # Flower notices after about 50 s without a sign of life what the deadline says after 45.
    assert first == "client-02 failed in round 1: no reply within 45 s"
    assert all("client-02 failed in round 2" in reason for reason in others)
    clients = [event["clients"] for event in made.events("round")]
    assert (clients[0], clients[-1]) == (2, 3)


@pytest.mark.parametrize("made", [("federation.rounds=1", "deployment.deadline=90")], indirect=True)
@pytest.mark.parametrize("direction", ["down", "up"])
def test_a_site_killed_during_a_message(made: Federation, direction: str) -> None:
    """All its processes are killed halfway through the broadcast or the reply: the run equals one without it."""
    passed = {"down": 0, "up": 0}

    def watch(way: str, size: int) -> None:
        # Half a megabyte: much more than it takes to say hello, much less than a model.
        passed[way] += size
        if passed[direction] > 500_000 and "client-02" in made.processes:
            made.end("client-02")

    made.local.run(engine=lambda method_run: Without(clients_engine(method_run), "client-02"))
    made.start_link()
    cable = Cable(made.link, watch)
    try:
        made.start_site("client-02", cable.near)
        for client in ("client-01", "client-03"):
            made.start_site(client)
        made.control.submit("demo")
        wait_for(made.finished, "the end of the run")
    finally:
        cable.close()
    (reason,) = reasons(made)
    # Which of the two Flower notices first is up to its clocks.
    assert reason.removeprefix("client-02 failed in round 1: ") in (
        "its node disconnected",
        "the message to it was lost, or its reply was incomplete or too large",
    )
    assert bool(list(made.private("client-02").rglob("*.safetensors"))) == (direction == "up")
    expected, found = made.expected(), made.tensors()
    theirs = {name: value for name, value in found.items() if "clients/client-02/" not in name}
    assert len(expected) > 500
    assert expected == theirs


@pytest.mark.parametrize("made", [("federation.rounds=3", "local.epochs=5")], indirect=True)
def test_a_connection_that_is_interrupted_and_restored(made: Federation) -> None:
    """Interrupted during training and restored in time: no refusal, and equal bits."""
    made.local.run()
    made.start_link()
    cable = Cable(made.link)
    try:
        made.start_site("client-02", cable.near)
        for client in ("client-01", "client-03"):
            made.start_site(client)
        made.control.submit("demo")
        wait_for(lambda: made.works("client-02"), "training at client-02")
        cable.cut()
        wait_for(lambda: not made.works("client-02"), "the end of its training")
        cable.whole.set()
        wait_for(made.finished, "the end of the run")
    finally:
        cable.close()
    assert reasons(made) == []
    expected, found = made.expected(), made.tensors()
    assert [name for name in expected if found.get(name) != expected[name]] == []


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


@pytest.mark.parametrize("made", [("federation.rounds=1",)], indirect=True)
@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (
            "return reply_records(replace(reply, weights={n: v[:1] for n, v in reply.weights.items() if v.dim()}))",
            "update of client-02 for round 1 refused: entries missing",
        ),
        (
            "return reply_records(replace(reply, weights={n: v * float('nan') for n, v in reply.weights.items()}))",
            "update of client-02 for round 1 refused: ",
        ),
        (
            "return reply_records(replace(reply, weights={n: 10**6 * v for n, v in reply.weights.items()}))",
            "update of client-02 for round 1 refused: its weights changed by",
        ),
        (
            "return reply_records(replace(reply, client='client-01'))",
            "reply of client-02 refused: client is 'client-01'",
        ),
        (
            "return reply_records(replace(reply, round=7))",
            "update of client-02 for round 1 refused: round is 7",
        ),
        (
            "reply = replace(reply, weights={**reply.weights, 'more': torch.zeros(1 << 26)})",
            "",
        ),
    ],
)
def test_a_dishonest_site_is_named_and_refused(made: Federation, lie: str, reason: str) -> None:
    """A registered site with other code: its replies are refused, and the others finish the round."""
    programs = made.folder / "programs"
    programs.mkdir(parents=True)
    (programs / "liar.py").write_text(LIAR.format(lie=lie), encoding="utf-8")
    program = programs / "flwr-clientapp"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{programs / "liar.py"}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    made.start_link()
    made.start_site("client-02", programs=programs)
    for client in ("client-01", "client-03"):
        made.start_site(client)
    made.control.submit("demo")
    wait_for(made.finished, "the end of the run")
    (found,) = reasons(made)
    assert "client-02" in found
    assert reason in found
    assert [event["clients"] for event in made.events("round")] == [2]
    shutil.rmtree(programs)
