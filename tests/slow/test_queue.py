"""Several runs of one coordinator with real processes: queue, withdrawal, and a slow machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.tiny_experiment import tiny_config

from fedfr.config.schema import load_config
from fedfr.core.files import read_json_lines
from fedfr.core.locks import is_locked
from fedfr.deployment.background import wait_for
from fedfr.deployment.demo import RUN, Demo
from fedfr.deployment.status import status_of, table

pytestmark = pytest.mark.slow

SETTINGS = (
    "split.settings.clients=2",
    "split.settings.identities_per_client=2",
    "deployment.poll=0.2",
    "model.backbone=slimface",
)
# Sorted before the first one's name, and its sites are given less time to be ready than the first one takes.
SECOND, JOIN = "another", 30


@pytest.fixture
def settings() -> tuple[str, ...]:
    return ("federation.rounds=3",)


@pytest.fixture
def demo(tmp_path: Path, settings: tuple[str, ...]) -> Iterator[Demo]:
    (tmp_path / "config").mkdir()
    config = tiny_config(tmp_path / "config", *SETTINGS, *settings)
    with Demo(tmp_path / "demo", config) as made:
        yield made


@pytest.mark.parametrize("settings", [("deployment.hello=0.5", "federation.rounds=2")])
def test_a_machine_slower_than_every_time_limit_takes_part(demo: Demo, settings: tuple[str, ...]) -> None:
    """The start of a site's process alone exceeds the time limit: every reply is late and counts."""
    demo.submit()
    demo.start_all()
    stood: set[str] = set()

    def ended() -> bool:
        sites = status_of(demo.coordinator)["runs"][RUN]["sites"]
        stood.update(site["state"] for site in sites.values() if "state" in site)
        return not demo.coordinator.submitted()

    wait_for(ended, "the end of the run")
    assert demo.coordinator.outcome(RUN) == f"run {RUN} has ended"
    assert demo.events("refused") == []
    assert [event["clients"] for event in demo.events("round")] == [2, 2]
    assert "silent" in stood


def give_out(demo: Demo, agreement: Path) -> None:
    for site in demo.sites.values():
        shutil.copy(agreement, site / "agreement.yaml")


def test_the_second_run_waits_for_the_first(demo: Demo) -> None:
    demo.submit()
    config = load_config(demo.folder / "faces" / "coordinator" / "config.yaml", [f"deployment.join={JOIN}"])
    agreement = demo.coordinator.submit(SECOND, config)
    assert demo.coordinator.submitted() == [RUN, SECOND]
    demo.start_all()
    wait_for(lambda: len(demo.events("round")) >= 1, "round 1")
    assert is_locked(demo.run)
    assert not is_locked(demo.coordinator.runs / SECOND)
    shown = table(status_of(demo.coordinator))
    assert f"{SECOND}: fedfr, round 0 of 3, waiting, number 2 in the queue, behind {RUN}" in shown
    assert any(word in shown for word in ("training since", "answered since", "ready since"))
    demo.coordinator.withdraw(RUN)
    wait_for(lambda: not is_locked(demo.run), "the end of the withdrawn run", 300)
    assert len(demo.events("round")) < 3
    assert not (demo.run / "stopped.txt").exists()
    give_out(demo, agreement)
    wait_for(lambda: not demo.coordinator.submitted(), "the end of the second run")
    assert demo.coordinator.outcome(SECOND) == f"run {SECOND} has ended"
    events = read_json_lines(demo.coordinator.runs / SECOND / "metrics.jsonl")
    assert [event["clients"] for event in events if event["event"] == "round"] == [2, 2, 2]
    # What was withdrawn is gone on with where it stopped.
    demo.coordinator.submit(RUN, None)
    give_out(demo, demo.run / "agreement.yaml")
    wait_for(lambda: not demo.coordinator.submitted(), "the end of the first run")
    assert [event["round"] for event in demo.events("round")] == [1, 2, 3]
