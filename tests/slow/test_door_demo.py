"""The demonstration of doors with real processes: strangers, another run, rebuilt galleries, decisions again."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedfr.config.schema import load_config
from fedfr.deployment.demo import Demo
from fedfr.deployment.door_demo import RATE, SETTINGS, STRANGERS, DoorDemo
from fedfr.recognition.recognizer import Recognizer

pytestmark = pytest.mark.slow

SHORT = ("federation.rounds=1", "pretrain.epochs=6", "local.epochs=1", "deployment.poll=0.2")


def test_doors_reject_strangers_before_and_after_another_run(tmp_path: Path) -> None:
    lines: list[str] = []
    with Demo(tmp_path / "demo", load_config("quickstart", [*SETTINGS, *SHORT]), lines.append) as demo:
        demonstration = DoorDemo(demo, lines.append)
        before, after = demonstration.run()
        doors = demonstration.doors
    assert list(before) == list(after) == list(doors)
    for client, door in doors.items():
        old, new = before[client], after[client]
        with Recognizer.open(door) as recognizer:
            calibration = recognizer.calibration()
            space = recognizer.gallery.active_space
        assert space == new.space != old.space
        assert calibration is not None
        assert calibration.space == space
        assert calibration.identify.strangers == STRANGERS
        for visits in (old, new):
            # Whether 25 % are promised with 95 % confidence is chance; a threshold of another model lets in most.
            assert visits.passed < 2 * RATE * visits.unknown
    for visits_of in (before, after):
        accepted = sum(each.accepted for each in visits_of.values())
        assert accepted > 5 * sum(each.mistaken for each in visits_of.values())
        assert accepted > 0.2 * sum(each.own for each in visits_of.values())
    said = "\n".join(lines)
    assert said.count("rebuilt its gallery itself") == len(doors) - 1
    assert "fedfr gallery rebuild doors/" in said
