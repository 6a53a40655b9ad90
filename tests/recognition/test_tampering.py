"""What a program without the key can do: stop the decisions of a gallery, never change them or keep anybody in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from tests.support.doors import FPIR, Door, make_door

from fedfr.core.errors import FedfrError
from fedfr.models.checkpoint import CONTRACT_KEY, load_model
from fedfr.recognition.decision import NO_DECISION
from fedfr.recognition.gallery.gallery_settings import write_gallery_settings
from fedfr.recognition.recognizer import Recognizer


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return make_door(tmp_path)


def enrol(recognizer: Recognizer, door: Door, *people: int) -> None:
    for person in people:
        assert recognizer.enrol(f"person {person}", door.photos(person, 0, 3), aligned=True).accepted == 3


@pytest.mark.parametrize(
    ("change", "strangers"),
    [
        ({"fpir": 0.9}, False),
        ({"quality": "standard"}, True),
        ({"normalization": "as-norm"}, None),
        ({"liveness": "hook:check"}, False),
        ({"backbone": "hook:check"}, None),
        ({"detector": "../hook.py"}, None),
    ],
)
def test_settings_changed_without_the_key_are_not_in_force(
    change: dict[str, Any], strangers: bool | None, door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``gallery.yaml`` is a plain file. ``strangers``: whether they are needed to confirm; None if it is impossible."""
    ran = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n"
    (tmp_path / "hook.py").write_text(f"{ran}def check(frame, crop):\n    return True\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with door.open() as recognizer:
        enrol(recognizer, door, 0)
        before = recognizer.gallery.settings
        write_gallery_settings(door.folder, before.model_copy(update=change))
        decision = recognizer.identify(door.photos(0)[5], aligned=True)
        assert (decision.outcome, decision.reasons) == (NO_DECISION, ("settings-changed",))
    with door.open() as recognizer:
        (name, value), *_ = change.items()
        assert any(f"gallery.yaml has {name}: {value}, and " in notice for notice in recognizer.status().notices)
        enrol(recognizer, door, 1)
        assert not (tmp_path / "hook.ran").exists()
        assert recognizer.remove("person 1").calibrated
        assert recognizer.gallery.settings == before
        stored = recognizer.gallery.calibration()
        assert stored is not None
        assert (stored["identify"]["fpir"], stored["normalization"]) == (FPIR, "none")
        with pytest.raises(FedfrError, match=r"confirm with `fedfr calibrate .* --confirm-settings`"):
            recognizer.calibrate()
        with pytest.raises(FedfrError) if strangers is not False else nullcontext():
            recognizer.calibrate(confirm_settings=True)
        if strangers:
            recognizer.calibrate(confirm_settings=True, strangers=door.strangers)
        assert recognizer.gallery.settings == (before if strangers is None else before.model_copy(update=change))
        assert (recognizer.status().problem == "settings-changed") == (strangers is None)
        assert (recognizer.journal()[0].kind == "settings") == (strangers is not None)
    assert (tmp_path / "hook.ran").exists() == (change.get("liveness") is not None)


def test_a_person_whose_records_are_damaged_is_removed_by_id(door: Door) -> None:
    with door.open() as recognizer:
        enrol(recognizer, door, 0, 1)
        damaged = recognizer.persons()[0].id
        with closing(sqlite3.connect(door.folder / "gallery.db")) as database, database:
            database.execute("UPDATE persons SET key = zeroblob(60) WHERE id = ?", (damaged,))
        for name in ("person 0", "0123456789ab"):
            with pytest.raises(FedfrError, match=f"of person {damaged}|nobody with the id '0123456789ab'"):
                recognizer.remove(name)
        assert recognizer.remove(damaged).calibrated
        assert [person.name for person in recognizer.persons()] == ["person 1"]
        assert recognizer.identify(door.photos(1)[5], aligned=True).accepted


def test_another_file_with_the_id_of_the_model_is_refused(door: Door) -> None:
    """Here with the same weights; others of the same id are the work of a determined attacker."""
    (file,) = (door.folder / "models").iterdir()
    tensors, contract = load_model(file)
    save_file(tensors, file, {CONTRACT_KEY: contract.to_json(), "another": "file"})
    with pytest.raises(FedfrError, match="is not the file that the gallery was made with; restore it from a copy"):
        door.open()


def test_damaged_strangers_do_not_keep_anybody_in_the_gallery(door: Door) -> None:
    with door.open() as recognizer:
        enrol(recognizer, door, 0, 1)
        with closing(sqlite3.connect(door.folder / "gallery.db")) as database, database:
            database.execute("DELETE FROM blocks")
        removal = recognizer.remove("person 0")
        assert (removal.photos, removal.calibrated) == (3, False)
        assert "weights of models" in removal.to_json()["remains"]
        assert [person.name for person in recognizer.persons()] == ["person 1"]
        assert recognizer.identify(door.photos(1)[5], aligned=True).reasons == ("not-calibrated",)
