"""Recognizers killed with SIGKILL: the gallery always has its own threshold, and every change has its journal entry.

Repeating the command finishes it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.doors import FPIR, Door, make_door, save_tiny_model
from tests.support.kill_steps import killed_at_every_step

from fedfr.recognition.calibration.calibration_record import Calibration
from fedfr.recognition.calibration.recalibration import matches, stored_calibration
from fedfr.recognition.gallery.gallery import Gallery
from fedfr.recognition.recognizer import Recognizer

pytestmark = pytest.mark.slow

MODEL = "new.safetensors"


def enrol(recognizer: Recognizer, door: Door) -> None:
    recognizer.enrol("person 2", door.photos(2, 0, 3), aligned=True)


def remove(recognizer: Recognizer, door: Door) -> None:
    if recognizer.gallery.find("person 1") is not None:
        recognizer.remove("person 1")


def calibrate(recognizer: Recognizer, door: Door) -> None:
    recognizer.calibrate(FPIR * 2)


def rebuild(recognizer: Recognizer, door: Door) -> None:
    recognizer.rebuild(door.model.with_name(MODEL), strangers=door.strangers)


def rekey(recognizer: Recognizer, door: Door) -> None:
    recognizer.rekey()


def calibration_of(gallery: Gallery) -> Calibration:
    found = stored_calibration(gallery, gallery.active_space or "")
    assert found is not None
    return found


OPERATIONS: dict[str, tuple[Callable[[Recognizer, Door], None], int, Callable[[Gallery], object]]] = {
    "enrol": (enrol, 9, Gallery.count),
    "remove": (remove, 9, Gallery.count),
    "calibrate": (calibrate, 3, lambda gallery: calibration_of(gallery).fpir),
    "rebuild": (rebuild, 29, lambda gallery: gallery.active_space),
    "rekey": (rekey, 19, lambda gallery: gallery.key.id),
}
"""Each with the number of steps between two kills, and a value that it changes."""
KILLS = 8
"""Least number of kills of each."""


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_and_repeated(name: str, tmp_path: Path) -> None:
    operate, stride, value = OPERATIONS[name]
    made = make_door(tmp_path / "whole", crops=True)
    save_tiny_model(made.model.with_name(MODEL), seed=5)
    with made.open() as recognizer:
        for person in (0, 1):
            recognizer.enrol(f"person {person}", made.photos(person, 0, 3), aligned=True)
        before, entries = value(recognizer.gallery), entries_about(recognizer, name)
    door = Door(tmp_path / "work" / "door", made.model, made.faces, made.strangers)

    def prepare() -> None:
        shutil.rmtree(door.folder.parent, ignore_errors=True)
        shutil.copytree(made.folder, door.folder)

    def operated() -> None:
        with door.open() as recognizer:
            operate(recognizer, door)

    expected = {0: "person 0", 1: None if name == "remove" else "person 1", 2: "person 2" if name == "enrol" else None}
    steps, made_changes = 0, set()
    for _ in killed_at_every_step(prepare, operated, stride):
        steps += 1
        with door.open() as recognizer:
            changed = value(recognizer.gallery) != before
            assert entries_about(recognizer, name) == entries + changed, (
                "a change has its entry, and an entry its change"
            )
            made_changes.add(changed)
            check(recognizer, interrupted=name == "calibrate")
            seen = recognizer.identify(door.photos(0)[5], aligned=True)
            assert seen.person == "person 0" or seen.reasons == ("settings-changed",)
            operate(recognizer, door)
            check(recognizer)
            for person, who in expected.items():
                assert recognizer.identify(door.photos(person)[5], aligned=True).person == who
        assert len(list((door.folder / "models").glob("*.safetensors"))) == 1
    assert steps > KILLS
    assert made_changes == {False, True}


def entries_about(recognizer: Recognizer, kind: str) -> int:
    return sum(entry.kind == kind for entry in recognizer.journal(None))


def check(recognizer: Recognizer, *, interrupted: bool = False) -> None:
    """The stored calibration is that of the present templates; settings may be behind it after an interruption."""
    gallery = recognizer.gallery
    space = gallery.active_space
    assert space is not None
    assert gallery.journal.verify().wrong is None
    assert interrupted or recognizer.status().problem == ""
    if not interrupted:
        assert matches(stored_calibration(gallery, space), gallery.templates(), space, gallery.settings)
