"""The coordinator service keeps the SuperLink's registered keys and ``nodes.json`` equal to its folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.coordinator_bench import Bench

from fedfr.core.errors import WriteError
from fedfr.core.locks import locked
from fedfr.deployment.run_queue import RESTART_DELAY
from fedfr.deployment.state_files import SUBMITTED


def test_a_new_key_is_registered_once(bench: Bench) -> None:
    assert bench.nodes() == {}
    bench.register_site("clinic-a")
    assert bench.poll() == ["clinic-a may take part"]
    assert bench.poll() == []
    bench.register_site("clinic-b")
    assert bench.poll() == ["clinic-b may take part"]
    assert bench.control.registered == ["clinic-a", "clinic-b"]
    assert bench.nodes() == {str(2**63 + 1): "clinic-a", str(2**63 + 2): "clinic-b"}


def test_a_removed_key_is_rejected_at_once(bench: Bench) -> None:
    for client in ("clinic-a", "clinic-b"):
        bench.register_site(client)
    bench.poll()
    bench.coordinator.unregister("clinic-a")
    assert bench.poll() == ["the key of clinic-a is no longer accepted"]
    assert bench.nodes() == {str(2**63 + 2): "clinic-b"}
    assert bench.poll() == []
    assert bench.control.unregistered == [2**63 + 1]
    bench.register_site("clinic-a", "new.key")
    assert bench.poll() == ["clinic-a may take part"]
    assert bench.nodes() == {str(2**63 + 2): "clinic-b", str(2**63 + 3): "clinic-a"}


def test_a_key_replaced_between_two_polls(bench: Bench) -> None:
    bench.register_site("clinic-a")
    bench.poll()
    bench.coordinator.unregister("clinic-a")
    bench.register_site("clinic-a", "new.key")
    assert bench.poll() == ["the key of clinic-a is no longer accepted", "clinic-a may take part"]
    assert bench.nodes() == {str(2**63 + 2): "clinic-a"}


def test_a_removed_key_is_ignored_even_if_the_superlink_fails(bench: Bench) -> None:
    bench.register_site("clinic-a")
    bench.poll()
    bench.coordinator.unregister("clinic-a")
    bench.control.broken = {str(2**63 + 1)}
    assert bench.poll() == [f"the SuperLink did not take {2**63 + 1}"]
    assert bench.nodes() == {}
    bench.control.broken = set()
    assert bench.poll() == ["the key of clinic-a is no longer accepted"]
    assert bench.control.unregistered == [2**63 + 1]


def test_a_full_disk_delays_neither_removal_nor_registration(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.register_site("clinic-a")
    bench.poll()
    bench.coordinator.unregister("clinic-a")
    bench.register_site("clinic-b")

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


def test_a_superlink_restarted_meanwhile_receives_every_key_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for client in ("clinic-a", "clinic-b"):
        bench.register_site(client)
    register = bench.control.register

    def starts_anew(client: str, key: Path) -> int:
        bench.restart_superlink()
        return register(client, key)

    with monkeypatch.context() as patched:
        patched.setattr(bench.control, "register", starts_anew)
        assert bench.poll() == ["clinic-a may take part"]
    bench.control.registered.clear()
    assert bench.poll() == ["clinic-a may take part", "clinic-b may take part"]
    assert bench.control.registered == ["clinic-a", "clinic-b"]


def test_a_rejected_key_does_not_block_others_and_is_logged_once(bench: Bench) -> None:
    for client in ("clinic-a", "clinic-b"):
        bench.register_site(client)
    bench.control.broken = {"clinic-a"}
    bench.submit("first")
    assert bench.poll() == [
        "the SuperLink did not take clinic-a",
        "clinic-b may take part",
        "run first is started or resumed",
    ]
    assert bench.poll() == []
    bench.control.broken = set()
    assert bench.poll() == ["clinic-a may take part"]
    bench.control.broken = {"second"}
    bench.submit("second")
    assert bench.poll() == ["run second waits for first"]
    (bench.coordinator.runs / "first" / SUBMITTED).unlink()
    assert bench.poll() == ["run first has ended", "the SuperLink did not take second"]


def test_a_restarted_superlink_receives_keys_and_runs_again(bench: Bench) -> None:
    bench.register_site("clinic-a")
    bench.submit("first")
    bench.poll()
    bench.restart_superlink()
    assert bench.poll() == ["clinic-a may take part", "run first is started or resumed"]
    assert bench.control.registered == ["clinic-a"]
    assert bench.control.started == ["first", "first"]
    assert bench.nodes() == {str(2**63 + 1): "clinic-a"}
    assert bench.poll() == []


def test_a_run_that_survives_a_restart_is_not_started_again(bench: Bench) -> None:
    folder = bench.submit("first")
    bench.poll()
    with locked(folder):
        bench.restart_superlink()
        assert bench.poll() == []
    assert bench.poll(RESTART_DELAY - 1) == []
    assert bench.poll(1) == ["run first is started again: no process was executing it"]
