"""Sites as real processes: the bits of a local run, whatever is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.slow.federation import Federation, wait_for

from fedfr.deployment.processes import submit

pytestmark = pytest.mark.slow


@pytest.fixture
def made(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Federation]:
    federation = Federation(tmp_path, *request.param)
    yield federation
    federation.stop()


@pytest.mark.parametrize("made", [()], indirect=True)
def test_a_federation_of_processes_gives_the_bits_of_a_local_run(made: Federation) -> None:
    rows = made.local.run()
    made.start()
    wait_for(made.finished, "the end of the run")
    expected, found = made.expected(), made.tensors()
    assert len(expected) > 1000
    assert expected.keys() == found.keys()
    assert [name for name, value in expected.items() if found[name] != value] == []
    generic = [row for row in rows if row.protocol.startswith("generic")]
    assert generic
    assert made.remote.results() == generic
    assert made.events("refused") == []


@pytest.mark.parametrize("made", [("local.epochs=60", "federation.rounds=2")], indirect=True)
def test_a_killed_site_does_not_stop_the_round_of_the_others(made: Federation) -> None:
    """It is noticed in under a minute, long before the deadline; the next round does not ask for it."""
    made.start()
    wait_for(lambda: made.works("client-02"), "training at client-02")
    made.kill("client-02")
    wait_for(made.finished, "the end of the run")
    assert [event["reason"] for event in made.events("refused")] == [
        "client-02 failed in round 1: its node was lost",
        "client-02 failed in round 2: its site is not connected",
    ]
    assert [event["clients"] for event in made.events("round")] == [2, 2]
    assert not list((made.site("client-02") / "private").rglob("*.safetensors"))


@pytest.mark.parametrize("made", [("federation.rounds=3",)], indirect=True)
def test_a_killed_superlink_is_the_end_of_a_flower_run_not_of_the_experiment(made: Federation) -> None:
    """Everything is killed in the second round; a new run over the same folder ends with the bits of an undisturbed."""
    made.local.run()
    made.start()
    wait_for(lambda: bool(made.events("round")), "the end of round 1")
    wait_for(lambda: any(map(made.works, made.clients)), "training in round 2")
    made.kill("link")
    for client in made.clients:
        made.kill(client)
    assert not made.finished()
    made.start()
    wait_for(made.finished, "the end of the run")
    expected, found = made.expected(), made.tensors()
    assert [name for name in expected if found.get(name) != expected[name]] == []


@pytest.mark.parametrize("made", [("deployment.join=5",)], indirect=True)
def test_a_run_that_cannot_be_says_why(made: Federation) -> None:
    """Nobody is there, then a folder that is none of the runs."""
    made.start_link()
    submit(made.link, "demo", made.folder / "home-operator")
    wait_for(lambda: "0 of 3 clients delivered" in made.log(), "the reason")
    assert "its site is not connected" in made.log()
    submit(made.link, "../federation", made.folder / "home-operator")
    wait_for(lambda: "give the name of a folder in" in made.log(), "the refusal of a folder elsewhere")
