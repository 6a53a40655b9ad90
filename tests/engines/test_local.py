"""Local engine: results do not depend on the number of workers; failures of clients are reported."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from tests.support.tiny_experiment import bits, tiny_config

from fedfr.core.errors import FedfrError
from fedfr.engines.local import LocalEngine, worker_number
from fedfr.experiments.client_factory import ClientFactory
from fedfr.experiments.experiment import Experiment
from fedfr.federation.client import Client
from fedfr.federation.messages import Broadcast, Failure, Update, decode_broadcast, decode_update, encode
from fedfr.federation.private_state import PrivateState
from fedfr.results.result_rows import Row


def run_with(folder: Path, workers: int, *more: str) -> tuple[list[Row], dict[str, bytes]]:
    folder.mkdir()
    config = tiny_config(folder, f"runtime.workers={workers}", "split.settings.clients=3", *more)
    rows = Experiment.create(config, folder / "run").run()
    return rows, bits(folder / "run")


@pytest.mark.parametrize(
    "settings",
    [
        (),
        pytest.param(
            ("federation.aggregation=trimmed", "federation.prototypes=keep", "federation.rounds=1"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_number_of_workers_changes_no_bit(tmp_path: Path, settings: tuple[str, ...]) -> None:
    rows, models = run_with(tmp_path / "one", 1, *settings)
    # The CPU under two names stands for two devices.
    rows_of_two, models_of_two = run_with(tmp_path / "two", 2, "runtime.device=cpu,cpu:0", *settings)
    assert len(list((tmp_path / "two/run/public_features").iterdir())) == 1, "one model, one folder"
    assert rows == rows_of_two
    assert len(models) > 200
    assert models.keys() == models_of_two.keys()
    assert [name for name, value in models.items() if models_of_two[name] != value] == []


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> tuple[ClientFactory, Broadcast]:
    folder = tmp_path_factory.mktemp("engine")
    experiment = Experiment.create(tiny_config(folder, "pretrain.epochs=0"), folder / "run")
    start = experiment.pretrain()
    components = experiment.components
    clients = folder / "run" / "clients"
    made = ClientFactory(components.config, "fedfr", components.faces_folder, folder / "run" / "split.json", clients)
    return made, Broadcast(1, start.weights, start.prototypes)


def test_every_message_passes_the_tap(factory: tuple[ClientFactory, Broadcast]) -> None:
    make_client, broadcast = factory
    seen: list[tuple[str, str, bytes]] = []
    with LocalEngine(make_client, tap=lambda *message: seen.append(message)) as engine:
        replies = list(engine.exchange(broadcast, ["client-02", "client-01"]))
    assert [(direction, client) for direction, client, _ in seen] == [
        ("down", "client-02"),
        ("up", "client-02"),
        ("down", "client-01"),
        ("up", "client-01"),
    ]
    for reply, (_, _, down), (_, _, up) in zip(replies, seen[::2], seen[1::2], strict=True):
        assert isinstance(reply, Update)
        assert torch.equal(decode_update(up).weights["fc.weight"], reply.weights["fc.weight"])
        assert torch.equal(decode_broadcast(down).prototypes, broadcast.prototypes)


@dataclass(frozen=True)
class Strange:
    """A client that replies under the id ``name``, or reports an unknown metric."""

    inner: ClientFactory
    name: str
    metrics: Mapping[str, float]

    def __call__(self, client: str) -> Client:
        made = self.inner(client)
        train = made.train

        def strange(broadcast: Broadcast) -> tuple[Update, PrivateState]:
            update, state = train(broadcast)
            return replace(update, client=self.name, metrics=self.metrics), state

        made.train = strange  # type: ignore[method-assign]
        return made


def test_invalid_replies_are_failures_of_their_client(
    factory: tuple[ClientFactory, Broadcast],
) -> None:
    make_client, broadcast = factory
    with LocalEngine(Strange(make_client, "client-02", {})) as engine:
        replies = list(engine.exchange(broadcast, ["client-01", "client-02"]))
    assert replies[0] == Failure("client-01", "it replied as 'client-02'")
    assert isinstance(replies[1], Update)
    with LocalEngine(Strange(make_client, "client-02", {"event": 1.0})) as engine:
        (reply,) = engine.exchange(broadcast, ["client-02"])
    assert reply == Failure("client-02", "metrics hold 'event', which is not a known metric")


def check_a_fault_of_one_client_affects_no_other(
    engine: LocalEngine, clients: Path, broadcast: Broadcast, seen: list[tuple[str, str, bytes]]
) -> str:
    """A damaged private state stops its client: no path at the server, others deliver; returns what its log says."""
    damaged = clients / "client-01" / "private-000001.safetensors"
    damaged.parent.mkdir(parents=True, exist_ok=True)
    damaged.write_bytes(b"not a state")
    later = Broadcast(2, broadcast.weights, broadcast.prototypes)
    replies = {reply.client: reply for reply in engine.exchange(later, ["client-01", "client-02"])}
    failure = Failure("client-01", "its private state cannot be used; its own log says why")
    assert replies["client-01"] == failure
    assert ("up", "client-01", encode(failure)) in seen
    assert isinstance(replies["client-02"], Update)
    return f"client-01: private state {damaged} cannot be read"


def test_a_fault_of_one_client_affects_no_other(
    factory: tuple[ClientFactory, Broadcast], caplog: pytest.LogCaptureFixture
) -> None:
    make_client, broadcast = factory
    seen: list[tuple[str, str, bytes]] = []
    with LocalEngine(make_client, tap=lambda *message: seen.append(message)) as engine:
        expected = check_a_fault_of_one_client_affects_no_other(engine, make_client.clients_folder, broadcast, seen)
    assert expected in caplog.text


class Noting:
    """Clients note their worker and its device, and wait until every worker has one."""

    def __init__(self, inner: ClientFactory, folder: Path, workers: int) -> None:
        self.inner, self.folder, self.workers = inner, folder, workers

    def __call__(self, client: str) -> Client:
        """The inner factory's client."""
        made = self.inner(client)
        (self.folder / f"{worker_number()} {made.settings.compute.device}").touch()
        ends = time.monotonic() + 60
        while len(list(self.folder.iterdir())) < self.workers and time.monotonic() < ends:
            time.sleep(0.01)
        return made


def test_workers_share_the_devices_and_end_with_the_engine(
    factory: tuple[ClientFactory, Broadcast], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The CPU under two names represents two devices; a client's fault in a worker is that client's alone."""
    make_client, broadcast = factory
    config = make_client.config
    runtime = config.runtime.model_copy(update={"device": "cpu, cpu:0"})
    both = replace(make_client, config=config.model_copy(update={"runtime": runtime}), clients_folder=tmp_path / "c")
    noted = tmp_path / "noted"
    noted.mkdir()
    seen: list[tuple[str, str, bytes]] = []
    before = threading.active_count()
    with LocalEngine(Noting(both, noted, 2), workers=2, tap=lambda *message: seen.append(message)) as engine:
        replies = list(
            engine.exchange(Broadcast(1, broadcast.weights, broadcast.prototypes), ["client-01", "client-02"])
        )
        expected = check_a_fault_of_one_client_affects_no_other(engine, both.clients_folder, broadcast, seen)
    assert threading.active_count() == before
    assert all(isinstance(reply, Update) for reply in replies)
    assert {path.name for path in noted.iterdir()} == {"0 cpu", "1 cpu:0"}
    assert worker_number() == 0
    assert expected in capfd.readouterr().err


class Fatal:
    """A factory whose clients end their process, as the kernel does without memory."""

    def __call__(self, client: str) -> Client:
        """Never returns."""
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_killed_worker_is_reported(factory: tuple[ClientFactory, Broadcast]) -> None:
    _, broadcast = factory
    with (
        LocalEngine(Fatal(), workers=2) as engine,
        pytest.raises(FedfrError, match=r"a worker process died.*use fewer workers \(--workers\) and resume"),
    ):
        list(engine.exchange(broadcast, ["client-01"]))


def test_an_interruption_while_workers_start_raises_no_other_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(thread: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.process._ExecutorManagerThread.start", interrupted)

    def run() -> None:
        with LocalEngine(int, workers=2) as engine:  # type: ignore[arg-type]
            assert engine._pool is not None
            engine._pool.submit(int)

    with pytest.raises(KeyboardInterrupt):
        run()
    for worker in multiprocessing.active_children():
        worker.join(60)
    assert multiprocessing.active_children() == []
