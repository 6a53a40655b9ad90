"""The coordinator service executes submitted runs one after another, and restarts, stops and resumes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.coordinator_bench import Bench

from fedfr.core.locks import locked
from fedfr.deployment.run_queue import RESTART_DELAY
from fedfr.deployment.state_files import STOPPED, SUBMITTED


def test_a_submitted_run_is_started_once(bench: Bench) -> None:
    assert bench.control.started == []
    bench.submit("first")
    assert bench.poll() == ["run first is started or resumed"]
    # Its process takes a while to start.
    assert bench.poll(RESTART_DELAY / 2) == []
    with locked(bench.coordinator.runs / "first"):
        for _ in range(5):
            assert bench.poll(RESTART_DELAY) == []
    assert bench.control.started == ["first"]


@pytest.mark.parametrize("ever_worked_on", [True, False])
def test_a_run_without_a_process_is_restarted_after_a_delay(bench: Bench, ever_worked_on: bool) -> None:
    folder = bench.submit("first")
    bench.poll()
    if ever_worked_on:
        with locked(folder):
            assert bench.poll(10 * RESTART_DELAY) == []
    assert bench.poll(RESTART_DELAY - 0.1) == []
    assert bench.poll(0.1) == ["run first is started again: no process was executing it"]
    assert bench.poll(RESTART_DELAY - 0.1) == []
    assert bench.poll(0.1) == ["run first is started again: no process was executing it"]
    assert bench.control.started == ["first"] * 3


def test_a_rejected_run_is_retried_and_logged_once(bench: Bench) -> None:
    bench.control.broken = {"first"}
    bench.submit("first")
    bench.submit("second")
    assert bench.poll() == ["the SuperLink did not take first", "run second is started or resumed"]
    assert bench.poll() == ["run first waits for second"]
    assert bench.poll() == []
    bench.control.broken = set()
    assert bench.poll() == []
    (bench.coordinator.runs / "second" / SUBMITTED).unlink()
    assert bench.poll() == ["run second has ended", "run first is started or resumed"]
    assert bench.control.started == ["second", "first"]


def test_the_end_of_a_run_is_logged_once(bench: Bench) -> None:
    for name in ("first", "second"):
        bench.submit(name)
    bench.poll()
    (bench.coordinator.runs / "first" / SUBMITTED).unlink()
    assert bench.poll() == ["run first has ended", "run second is started or resumed"]
    (bench.coordinator.runs / "second" / STOPPED).write_text("below the quorum\n", "utf-8")
    (bench.coordinator.runs / "second" / SUBMITTED).unlink()
    assert bench.poll() == ["run second stopped: below the quorum"]
    assert bench.poll(10 * RESTART_DELAY) == []
    assert bench.control.started == ["first", "second"]


def submitted_at(bench: Bench, name: str, place: int) -> Path:
    folder = bench.submit(name)
    (folder / SUBMITTED).write_text(json.dumps({"place": place}), "utf-8")
    return folder


def test_runs_are_executed_in_the_order_of_submission(bench: Bench) -> None:
    """Independent of their names, and across a restart of the coordinator."""
    runs = {name: submitted_at(bench, name, place) for place, name in enumerate(["zebra", "middle", "ant"], 9)}
    assert bench.poll() == ["run zebra is started or resumed", "run middle waits for zebra", "run ant waits for zebra"]
    with locked(runs["zebra"]):
        assert bench.poll(100 * RESTART_DELAY) == []
    bench.restart_superlink()
    assert bench.poll() == ["run zebra is started or resumed"]
    submitted_at(bench, "newest", 12)
    bench.coordinator.runs.joinpath("middle", SUBMITTED).unlink()
    (runs["zebra"] / SUBMITTED).unlink()
    assert bench.poll() == [
        "run zebra has ended",
        "run ant is started or resumed",
        "run newest waits for ant",
    ], "one that waited was withdrawn"
    assert bench.control.started == ["zebra", "zebra", "ant"]


def test_a_run_whose_process_starts_slowly_is_not_started_twice(bench: Bench) -> None:
    """The start takes minutes on a busy machine; the SuperLink reports that it still waits."""
    bench.submit("first")
    bench.poll()
    bench.control.starting = {"1"}
    assert bench.poll(5 * RESTART_DELAY) == []
    assert bench.poll(5 * RESTART_DELAY) == []
    bench.control.starting = set()
    assert bench.poll() == ["run first is started again: no process was executing it"]


def test_a_withdrawn_run_is_stopped_before_the_next_starts(bench: Bench) -> None:
    first = submitted_at(bench, "first", 1)
    submitted_at(bench, "second", 2)
    bench.poll()
    with locked(first):
        bench.poll()
        (first / SUBMITTED).unlink()
        bench.control.broken = {"1"}
        assert bench.poll() == ["the SuperLink did not take 1"]
        assert bench.poll() == []
        bench.control.broken = set()
        assert bench.poll() == ["run first is stopped: it was withdrawn"]
        assert bench.poll(10 * RESTART_DELAY) == []
        assert bench.control.stopped == ["1"]
    assert bench.poll() == ["run first has ended", "run second is started or resumed"]


def test_a_run_withdrawn_while_starting_is_stopped_once_active(bench: Bench) -> None:
    folder = bench.submit("first")
    bench.poll()
    (folder / SUBMITTED).unlink()
    bench.poll()
    with locked(folder):
        assert bench.poll() == ["run first is stopped: it was withdrawn"]
    assert bench.control.stopped == ["1"]


def test_a_run_submitted_again_is_started_at_once(bench: Bench) -> None:
    folder = bench.submit("first")
    bench.poll()
    (folder / SUBMITTED).unlink()
    bench.poll()
    bench.submit("first")
    assert bench.poll() == ["run first is started or resumed"]
