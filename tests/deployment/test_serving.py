"""What the coordinator does about what appears in its folder, with a SuperLink that only notes what it is asked."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedfr.core.errors import FedfrError, WriteError
from fedfr.core.files import locked
from fedfr.deployment.address import Address
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.coordinator_service import RESTART_DELAY, CoordinatorService
from fedfr.deployment.processes import Control, FlowerRunStatus
from fedfr.deployment.secrets import make_node_key, save_key
from fedfr.deployment.state_files import STOPPED, SUBMITTED


class Link(Control):
    """Knows nobody when it starts; ``broken``: sites and runs that it does not take."""

    def __init__(self, home: Path) -> None:
        super().__init__(Address("127.0.0.1", 1), home)
        self.registered: list[str] = []
        self.begun: list[str] = []
        self.unregistered: list[int] = []
        self.broken: set[str] = set()
        self.stopped: list[str] = []
        # What the SuperLink says of runs: over, unless it waits for their processes.
        self.waits_for: set[str] = set()

    def unregister(self, node: int) -> None:
        self._mind(str(node))
        self.unregistered.append(node)

    def register(self, client: str, key: Path) -> int:
        assert key.read_text("ascii").startswith("ecdsa-sha2-nistp384 ")
        self._mind(client)
        self.registered.append(client)
        return 2**63 + len(self.registered)

    def submit(self, run: str) -> str:
        self._mind(run)
        self.begun.append(run)
        return str(len(self.begun))

    def stop(self, run_id: str) -> None:
        self._mind(run_id)
        self.stopped.append(run_id)

    def state(self, run_id: str) -> FlowerRunStatus:
        return FlowerRunStatus("starting" if run_id in self.waits_for else "finished:failed", "")

    def _mind(self, name: str) -> None:
        if name in self.broken:
            raise FedfrError(f"the SuperLink did not take {name}")


@dataclass
class Bench:
    """A coordinator, its link, its clock and what it said."""

    serving: CoordinatorService
    coordinator: Coordinator
    link: Link
    now: float = 0.0
    said: list[str] = field(default_factory=list)

    def poll(self, later: float = 2.0) -> list[str]:
        """What is said at a look, so many seconds after the last."""
        self.said.clear()
        self.now += later
        self.serving.poll()
        return [*self.said]

    def start_link(self) -> None:
        """As the supervisor tells it: the SuperLink is another process now."""
        self.link.registered.clear()
        self.serving._link.on_start(1)

    def submit(self, name: str) -> Path:
        """A run that is to be worked on."""
        folder = self.coordinator.runs / name
        folder.mkdir(exist_ok=True)
        (folder / SUBMITTED).write_bytes(b"")
        return folder

    def add(self, client: str, key_file: str = "") -> None:
        key = self.coordinator.folder / (key_file or f"{client}.key")
        save_key(key, make_node_key())
        self.coordinator.register(client, key.with_name(f"{key.name}.pub"))

    def nodes(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.coordinator.folder / "nodes.json").read_text("utf-8"))
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """With a SuperLink that has started."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        coordinator = Coordinator.init(tmp_path / "coordinator", ["localhost"], "test", 1, port)
        link = Link(tmp_path / "flower")
        said: list[str] = []
        serving = CoordinatorService(coordinator, said.append, control=link, clock=lambda: made.now)
        made = Bench(serving, coordinator, link, said=said)
        made.start_link()
        made.poll()
        yield made


# Sites


def test_a_key_that_appears_later_is_registered_once(bench: Bench) -> None:
    assert bench.nodes() == {}
    bench.add("clinic-a")
    assert bench.poll() == ["clinic-a may take part"]
    assert bench.poll() == []
    bench.add("clinic-b")
    assert bench.poll() == ["clinic-b may take part"]
    assert bench.link.registered == ["clinic-a", "clinic-b"]
    assert bench.nodes() == {str(2**63 + 1): "clinic-a", str(2**63 + 2): "clinic-b"}


def test_a_key_that_was_removed_is_good_for_nothing_at_once(bench: Bench) -> None:
    for client in ("clinic-a", "clinic-b"):
        bench.add(client)
    bench.poll()
    bench.coordinator.unregister("clinic-a")
    assert bench.poll() == ["the key of clinic-a is no longer accepted"]
    assert bench.nodes() == {str(2**63 + 2): "clinic-b"}
    assert bench.poll() == []
    assert bench.link.unregistered == [2**63 + 1]
    bench.add("clinic-a", "new.key")
    assert bench.poll() == ["clinic-a may take part"]
    assert bench.nodes() == {str(2**63 + 2): "clinic-b", str(2**63 + 3): "clinic-a"}


def test_a_key_that_was_replaced_between_two_looks(bench: Bench) -> None:
    bench.add("clinic-a")
    bench.poll()
    bench.coordinator.unregister("clinic-a")
    bench.add("clinic-a", "new.key")
    assert bench.poll() == ["the key of clinic-a is no longer accepted", "clinic-a may take part"]
    assert bench.nodes() == {str(2**63 + 2): "clinic-a"}


def test_nobody_listens_to_a_removed_key_even_where_the_superlink_fails(bench: Bench) -> None:
    bench.add("clinic-a")
    bench.poll()
    bench.coordinator.unregister("clinic-a")
    bench.link.broken = {str(2**63 + 1)}
    assert bench.poll() == [f"the SuperLink did not take {2**63 + 1}"]
    assert bench.nodes() == {}
    bench.link.broken = set()
    assert bench.poll() == ["the key of clinic-a is no longer accepted"]
    assert bench.link.unregistered == [2**63 + 1]


def test_a_full_disk_keeps_no_removed_key_alive_and_no_new_one_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add("clinic-a")
    bench.poll()
    bench.coordinator.unregister("clinic-a")
    bench.add("clinic-b")

    def full(path: Path, content: object) -> None:
        raise WriteError(f"cannot write {path}: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("fedfr.deployment.coordinator_service.write_json", full)
        assert bench.poll() == [
            f"cannot write {bench.coordinator.folder / 'nodes.json'}: No space left on device",
            "the key of clinic-a is no longer accepted",
            "clinic-b may take part",
        ]
        assert bench.poll() == []
    assert bench.nodes() == {str(2**63 + 1): "clinic-a"}
    assert bench.poll() == []
    assert bench.nodes() == {str(2**63 + 2): "clinic-b"}


def test_a_superlink_that_starts_meanwhile_is_told_everything_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for client in ("clinic-a", "clinic-b"):
        bench.add(client)
    register = bench.link.register

    def starts_anew(client: str, key: Path) -> int:
        bench.start_link()
        return register(client, key)

    with monkeypatch.context() as patched:
        patched.setattr(bench.link, "register", starts_anew)
        assert bench.poll() == ["clinic-a may take part"]
    bench.link.registered.clear()
    assert bench.poll() == ["clinic-a may take part", "clinic-b may take part"]
    assert bench.link.registered == ["clinic-a", "clinic-b"]


def test_one_that_is_refused_keeps_nobody_else_out_and_is_said_once(bench: Bench) -> None:
    for client in ("clinic-a", "clinic-b"):
        bench.add(client)
    bench.link.broken = {"clinic-a"}
    bench.submit("first")
    assert bench.poll() == [
        "the SuperLink did not take clinic-a",
        "clinic-b may take part",
        "run first is started or resumed",
    ]
    assert bench.poll() == []
    bench.link.broken = set()
    assert bench.poll() == ["clinic-a may take part"]
    bench.link.broken = {"second"}
    bench.submit("second")
    assert bench.poll() == ["run second waits for first"]
    (bench.coordinator.runs / "first" / SUBMITTED).unlink()
    assert bench.poll() == ["run first has ended", "the SuperLink did not take second"]


def test_after_the_superlink_was_restarted_everything_is_done_anew(bench: Bench) -> None:
    bench.add("clinic-a")
    bench.submit("first")
    bench.poll()
    bench.start_link()
    assert bench.poll() == ["clinic-a may take part", "run first is started or resumed"]
    assert bench.link.registered == ["clinic-a"]
    assert bench.link.begun == ["first", "first"]
    assert bench.nodes() == {str(2**63 + 1): "clinic-a"}
    assert bench.poll() == []


def test_a_run_that_goes_on_across_a_restart_is_left_alone(bench: Bench) -> None:
    folder = bench.submit("first")
    bench.poll()
    with locked(folder):
        bench.start_link()
        assert bench.poll() == []
    assert bench.poll(RESTART_DELAY - 1) == []
    assert bench.poll(1) == ["run first is started again: no process was executing it"]


def test_nothing_is_asked_before_the_superlink_answers(tmp_path: Path) -> None:
    """It started, and does not listen within two minutes."""
    coordinator = Coordinator.init(tmp_path / "coordinator", ["localhost"], "test", 1, 2)
    link, times = Link(tmp_path / "flower"), iter([0.0, 1.0, 200.0])
    serving = CoordinatorService(coordinator, control=link, clock=lambda: next(times))
    made = Bench(serving, coordinator, link)
    made.add("clinic-a")
    made.start_link()
    serving.poll()
    assert link.registered == []
    assert made.nodes() == {}


# Runs


def test_a_submitted_run_is_begun_once(bench: Bench) -> None:
    assert bench.link.begun == []
    bench.submit("first")
    assert bench.poll() == ["run first is started or resumed"]
    # Its process takes a while to start.
    assert bench.poll(RESTART_DELAY / 2) == []
    with locked(bench.coordinator.runs / "first"):
        for _ in range(5):
            assert bench.poll(RESTART_DELAY) == []
    assert bench.link.begun == ["first"]


@pytest.mark.parametrize("ever_worked_on", [True, False])
def test_it_is_begun_again_only_after_nobody_worked_on_it_for_a_while(bench: Bench, ever_worked_on: bool) -> None:
    folder = bench.submit("first")
    bench.poll()
    if ever_worked_on:
        with locked(folder):
            assert bench.poll(10 * RESTART_DELAY) == []
    assert bench.poll(RESTART_DELAY - 0.1) == []
    assert bench.poll(0.1) == ["run first is started again: no process was executing it"]
    assert bench.poll(RESTART_DELAY - 0.1) == []
    assert bench.poll(0.1) == ["run first is started again: no process was executing it"]
    assert bench.link.begun == ["first"] * 3


def test_a_run_that_the_superlink_does_not_take_is_tried_again_and_said_once(bench: Bench) -> None:
    bench.link.broken = {"first"}
    bench.submit("first")
    bench.submit("second")
    assert bench.poll() == ["the SuperLink did not take first", "run second is started or resumed"]
    assert bench.poll() == ["run first waits for second"]
    assert bench.poll() == []
    bench.link.broken = set()
    assert bench.poll() == []
    (bench.coordinator.runs / "second" / SUBMITTED).unlink()
    assert bench.poll() == ["run second has ended", "run first is started or resumed"]
    assert bench.link.begun == ["second", "first"]


def test_how_a_run_ended_is_said_once(bench: Bench) -> None:
    for name in ("first", "second"):
        bench.submit(name)
    bench.poll()
    (bench.coordinator.runs / "first" / SUBMITTED).unlink()
    assert bench.poll() == ["run first has ended", "run second is started or resumed"]
    (bench.coordinator.runs / "second" / STOPPED).write_text("below the quorum\n", "utf-8")
    (bench.coordinator.runs / "second" / SUBMITTED).unlink()
    assert bench.poll() == ["run second stopped: below the quorum"]
    assert bench.poll(10 * RESTART_DELAY) == []
    assert bench.link.begun == ["first", "second"]


def queued(bench: Bench, name: str, place: int) -> Path:
    folder = bench.submit(name)
    (folder / SUBMITTED).write_text(json.dumps({"place": place}), "utf-8")
    return folder


def test_runs_are_worked_on_one_after_the_other_in_the_order_of_their_submission(bench: Bench) -> None:
    """Whatever they are called, and across a restart of the coordinator with everything it had started."""
    runs = {name: queued(bench, name, place) for place, name in enumerate(["zebra", "middle", "ant"], 9)}
    assert bench.poll() == ["run zebra is started or resumed", "run middle waits for zebra", "run ant waits for zebra"]
    with locked(runs["zebra"]):
        assert bench.poll(100 * RESTART_DELAY) == []
    bench.start_link()
    assert bench.poll() == ["run zebra is started or resumed"]
    queued(bench, "newest", 12)
    bench.coordinator.runs.joinpath("middle", SUBMITTED).unlink()
    (runs["zebra"] / SUBMITTED).unlink()
    assert bench.poll() == [
        "run zebra has ended",
        "run ant is started or resumed",
        "run newest waits for ant",
    ], "one that waited was withdrawn"
    assert bench.link.begun == ["zebra", "zebra", "ant"]


def test_a_run_whose_process_is_slow_to_start_is_not_begun_twice(bench: Bench) -> None:
    """On a busy machine that takes minutes; the SuperLink says that it waits for it still."""
    bench.submit("first")
    bench.poll()
    bench.link.waits_for = {"1"}
    assert bench.poll(5 * RESTART_DELAY) == []
    assert bench.poll(5 * RESTART_DELAY) == []
    bench.link.waits_for = set()
    assert bench.poll() == ["run first is started again: no process was executing it"]


def test_a_withdrawn_run_is_stopped_and_the_next_begins_when_it_is_gone(bench: Bench) -> None:
    first = queued(bench, "first", 1)
    queued(bench, "second", 2)
    bench.poll()
    with locked(first):
        bench.poll()
        (first / SUBMITTED).unlink()
        bench.link.broken = {"1"}
        assert bench.poll() == ["the SuperLink did not take 1"]
        assert bench.poll() == []
        bench.link.broken = set()
        assert bench.poll() == ["run first is stopped: it was withdrawn"]
        assert bench.poll(10 * RESTART_DELAY) == []
        assert bench.link.stopped == ["1"]
    assert bench.poll() == ["run first has ended", "run second is started or resumed"]


def test_a_run_that_is_withdrawn_before_its_process_has_started_is_stopped_when_it_has(bench: Bench) -> None:
    folder = bench.submit("first")
    bench.poll()
    (folder / SUBMITTED).unlink()
    bench.poll()
    with locked(folder):
        assert bench.poll() == ["run first is stopped: it was withdrawn"]
    assert bench.link.stopped == ["1"]


def test_a_run_that_is_submitted_once_more_is_begun_at_once(bench: Bench) -> None:
    folder = bench.submit("first")
    bench.poll()
    (folder / SUBMITTED).unlink()
    bench.poll()
    bench.submit("first")
    assert bench.poll() == ["run first is started or resumed"]


def test_a_folder_that_cannot_be_looked_into_is_said_and_looked_into_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(self: Coordinator) -> dict[str, Path]:
        raise PermissionError(13, "Permission denied")

    bench.add("clinic-a")
    with monkeypatch.context() as patched:
        patched.setattr(Coordinator, "sites", gone)
        assert bench.poll() == [f"cannot read {bench.coordinator.folder}: Permission denied"]
        assert bench.poll() == []
    assert bench.poll() == ["clinic-a may take part"]


def test_only_one_process_serves_a_folder(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedfr.deployment.coordinator_service.which", lambda name: "/usr/sbin/nginx")
    with locked(bench.coordinator.folder), pytest.raises(FedfrError, match="another process is working on"):
        bench.serving.run()


@pytest.mark.parametrize("error", [OSError(12, "Cannot allocate memory"), UnicodeDecodeError("utf-8", b"", 0, 1, "no")])
def test_half_a_coordinator_is_none(bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """One of its threads dies: everything ends, with an exit code that lets systemd start it again."""

    def fails() -> int:
        raise error

    ended = threading.Event()
    monkeypatch.setattr("fedfr.deployment.coordinator_service.which", lambda name: "/usr/sbin/nginx")
    monkeypatch.setattr(bench.serving, "_proxy", lambda: SimpleNamespace(run=fails, stop=lambda: None))
    monkeypatch.setattr(bench.serving._link, "run", lambda: 0 if ended.wait(30) else 3)
    monkeypatch.setattr(bench.serving._link, "stop", ended.set)
    assert bench.serving.run() == 1


def test_without_nginx_what_installs_it_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedfr.deployment.coordinator_service.which", lambda name: None)
    with pytest.raises(FedfrError, match="nginx is not installed; apt install nginx-light"):
        bench.serving.run()
