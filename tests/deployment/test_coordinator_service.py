"""Start, failure and end of the coordinator service."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.support.coordinator_bench import Bench, RecordingControl

from fedfr.core.errors import FedfrError
from fedfr.core.locks import locked
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.coordinator_service import CoordinatorService


def test_no_requests_before_the_superlink_listens(tmp_path: Path) -> None:
    """The SuperLink has started but does not listen within two minutes."""
    coordinator = Coordinator.init(tmp_path / "coordinator", ["localhost"], "test", 1, 2)
    control, times = RecordingControl(tmp_path / "flower"), iter([0.0, 1.0, 200.0])
    service = CoordinatorService(coordinator, control=control, clock=lambda: next(times))
    made = Bench(service, coordinator, control)
    made.register_site("clinic-a")
    made.restart_superlink()
    service.poll()
    assert control.registered == []
    assert made.nodes() == {}


def test_an_unreadable_folder_is_logged_once_and_read_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: Coordinator) -> dict[str, Path]:
        raise PermissionError(13, "Permission denied")

    bench.register_site("clinic-a")
    with monkeypatch.context() as patched:
        patched.setattr(Coordinator, "sites", gone)
        assert bench.poll() == [f"cannot read {bench.coordinator.folder}: Permission denied"]
        assert bench.poll() == []
    assert bench.poll() == ["clinic-a may take part"]


def test_only_one_process_serves_a_folder(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedfr.deployment.coordinator_service.find_nginx", lambda: "/usr/sbin/nginx")
    with locked(bench.coordinator.folder), pytest.raises(FedfrError, match="another process is working on"):
        bench.service.run()


@pytest.mark.parametrize("error", [OSError(12, "Cannot allocate memory"), UnicodeDecodeError("utf-8", b"", 0, 1, "no")])
def test_a_failed_thread_stops_the_whole_service(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """One of its threads fails: the service ends with an exit code for which systemd restarts it."""

    def fails() -> int:
        raise error

    ended = threading.Event()
    monkeypatch.setattr("fedfr.deployment.coordinator_service.find_nginx", lambda: "/usr/sbin/nginx")
    monkeypatch.setattr(bench.service, "_proxy", lambda: SimpleNamespace(run=fails, stop=lambda: None))
    monkeypatch.setattr(bench.service._link, "run", lambda: 0 if ended.wait(30) else 3)
    monkeypatch.setattr(bench.service._link, "stop", ended.set)
    assert bench.service.run() == 1


def test_missing_nginx_is_reported_with_its_package(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedfr.deployment.coordinator_service.find_nginx", lambda: None)
    with pytest.raises(FedfrError, match="nginx is not installed; apt install nginx-light"):
        bench.service.run()
