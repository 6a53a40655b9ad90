"""Sites as real processes: results equal a local run to the bit, whichever process is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.federation import Federation

from fedfr.deployment.background import wait_for
from fedfr.deployment.processes import FlowerRunStatus

pytestmark = pytest.mark.slow


@pytest.fixture
def made(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Federation]:
    with Federation(tmp_path, *request.param) as federation:
        yield federation


@pytest.mark.parametrize("made", [("federation.rounds=3",)], indirect=True)
def test_a_killed_superlink_does_not_end_the_experiment(made: Federation) -> None:
    """Everything is killed in the second round; a new run over the same folder ends with the bits of an undisturbed."""
    made.local.run()
    made.start_run()
    wait_for(lambda: bool(made.events("round")), "the end of round 1")
    wait_for(lambda: any(map(made.works, made.sites)), "training in round 2")
    made.kill("superlink")
    for client in made.sites:
        made.kill(client)
    assert not made.finished()
    made.start_run()
    wait_for(made.finished, "the end of the run")
    expected, found = made.expected(), made.tensors()
    assert [name for name in expected if found.get(name) != expected[name]] == []


@pytest.mark.parametrize("made", [("deployment.join=5",)], indirect=True)
def test_an_impossible_run_gives_the_reason(made: Federation) -> None:
    """Without sites, and with a folder that is not one of the runs."""

    def end(run: str) -> FlowerRunStatus:
        number = made.control.submit(run)
        wait_for(lambda: made.control.state(number).ended, "the end of the run")
        return made.control.state(number)

    made.start_link()
    alone, elsewhere = end("demo"), end("../federation")
    assert alone.status == elsewhere.status == "finished:failed"
    assert "round 1: 0 of 3 clients delivered, the quorum is 2" in alone.details
    assert "client-01 failed in round 1: its site is not connected" in alone.details
    assert "run = '../federation'; give the name of a folder in" in elsewhere.details
