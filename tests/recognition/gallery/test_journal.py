"""Journal: entries say nothing about people, and no change to them goes unnoticed."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.doors import FPIR, Door, make_door
from tests.support.galleries import filled_gallery

from fedfr.core.errors import FedfrError
from fedfr.recognition.gallery.gallery import Gallery
from fedfr.recognition.recognizer import Recognizer


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Door:
    door = make_door(tmp_path_factory.mktemp("journal"))
    with door.open() as recognizer:
        recognizer.enrol("person 0", door.photos(0, 0, 3), aligned=True)
    return door


def journal_of(folder: Path, entries: int = 6) -> None:
    with filled_gallery(folder) as gallery:
        for number in range(entries - 3):
            gallery.journal.append("identify", "reject", score=number / 7)


def test_entries_are_rounded_and_name_nobody(tmp_path: Path) -> None:
    with filled_gallery(tmp_path / "door") as gallery:
        ada = gallery.persons()[0]
        entry = gallery.journal.append(
            "verify", "accept", person=gallery.pseudonym(ada.id), score=0.512345, threshold=0.333333, calibration="c1"
        )
        assert (entry.score, entry.threshold, entry.number) == (0.51, 0.33, 4)
        assert entry.person not in (ada.id, ada.name)
        assert gallery.journal.entries(1) == [entry]
        gallery.remove(ada.id)
        assert [each.person for each in gallery.journal.entries()].count(entry.person) == 2
        with pytest.raises(FedfrError, match="nobody with the id"):
            gallery.pseudonym(ada.id)
        for wrong in ({"kind": "visit"}, {"outcome": "Ada"}, {"reasons": ("Ada",)}, {"person": "Ada"}):
            with pytest.raises(FedfrError, match="a journal entry has"):
                gallery.journal.append(**{"kind": "identify", **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fault", "wrong", "reason"),
    [
        ("UPDATE journal SET sealed = (SELECT sealed FROM journal WHERE number = 2) WHERE number = 4", 4, "changed"),
        ("UPDATE journal SET mac = zeroblob(32) WHERE number = 1", 1, "changed"),
        ("UPDATE journal SET mac = 'text' WHERE number = 6", 6, "changed"),
        ("DELETE FROM journal WHERE number = 3", 3, "removed"),
        ("DELETE FROM journal WHERE number <= 2", 1, "removed"),
        ("DELETE FROM journal WHERE number > 4", 5, "removed"),
        ("DELETE FROM journal", 1, "removed"),
        ("INSERT INTO journal SELECT 7, sealed, mac FROM journal WHERE number = 6", 7, "inserted"),
        ("INSERT INTO journal SELECT 0, sealed, mac FROM journal WHERE number = 6", 0, "inserted"),
    ],
)
def test_the_first_wrong_entry_is_named(tmp_path: Path, fault: str, wrong: int, reason: str) -> None:
    journal_of(tmp_path / "door")
    database = sqlite3.connect(tmp_path / "door" / "gallery.db", isolation_level=None)
    database.execute(fault)
    database.close()
    with Gallery.open(tmp_path / "door") as gallery:
        found = gallery.journal.verify()
        assert (found.wrong, found.reason.split()[-1], found.newest) == (wrong, reason, 6)
        check, whole = gallery.journal.verified_entries(2)
        assert check == found
        assert [entry.number for entry in whole] == [number for number in (wrong - 1, wrong - 2) if number > 0]
        with pytest.raises(FedfrError, match=f"entry {wrong} of the journal was {reason} by another program"):
            gallery.journal.entries()
        gallery.rekey()
        again = gallery.journal.verify()
        assert (again.wrong, again.reason) == (wrong, found.reason), "a change of the key does not hide it"


def test_the_newest_entries_are_checked_when_they_are_read(tmp_path: Path) -> None:
    journal_of(tmp_path / "door")
    database = sqlite3.connect(tmp_path / "door" / "gallery.db", isolation_level=None)
    with Gallery.open(tmp_path / "door") as gallery:
        assert [entry.number for entry in gallery.journal.entries(2)] == [6, 5]
        database.execute("DELETE FROM journal WHERE number = 2")
        assert [entry.number for entry in gallery.journal.entries(3)] == [6, 5, 4]
        with pytest.raises(FedfrError, match="entry 2 of the journal was removed"):
            gallery.journal.entries(4)
    database.close()


def test_entries_of_a_copy_that_was_restored_meanwhile_are_wrong(tmp_path: Path) -> None:
    """Both halves of a fork are linked with the right key; only one is the gallery's."""
    journal_of(tmp_path / "door")
    shutil.copytree(tmp_path / "door", tmp_path / "copy")
    for name, kind in (("door", "identify"), ("copy", "verify")):
        with Gallery.open(tmp_path / name) as gallery:
            gallery.journal.append(kind, "reject")
    database = sqlite3.connect(tmp_path / "door" / "gallery.db", isolation_level=None)
    database.execute(f"ATTACH '{tmp_path / 'copy' / 'gallery.db'}' AS copy")
    database.execute("REPLACE INTO main.journal SELECT * FROM copy.journal WHERE number = 7")
    database.close()
    with Gallery.open(tmp_path / "door") as gallery:
        assert (gallery.journal.verify().wrong, gallery.journal.verify().reason) == (7, "was changed")


def _add(recognizer: Recognizer, door: Door) -> None:
    recognizer.add_person("person 9")


def _rename(recognizer: Recognizer, door: Door) -> None:
    recognizer.rename("person 0", "person 9")


def _remove_photo(recognizer: Recognizer, door: Door) -> None:
    recognizer.remove_photo("person 0", recognizer.persons()[0].photos[0])


def _enrol(recognizer: Recognizer, door: Door) -> None:
    recognizer.enrol("person 9", door.photos(2, 0, 2), aligned=True)


def _calibrate(recognizer: Recognizer, door: Door) -> None:
    recognizer.calibrate(FPIR * 2)


def _rekey(recognizer: Recognizer, door: Door) -> None:
    recognizer.rekey()


CHANGES: list[tuple[Callable[[Recognizer, Door], None], str]] = [
    (_add, "enrol"),
    (_rename, "rename"),
    (_remove_photo, "remove"),
    (_enrol, "enrol"),
    (_calibrate, "calibrate"),
    (_rekey, "rekey"),
]


@pytest.mark.parametrize(("change", "kind"), CHANGES)
def test_a_change_without_its_entry_is_not_made(
    enrolled: Door, tmp_path: Path, change: Callable[[Recognizer, Door], None], kind: str
) -> None:
    """The database refuses entries, as a full disk does."""
    door = Door(tmp_path / "door", enrolled.model, enrolled.faces, enrolled.strangers)
    shutil.copytree(enrolled.folder, door.folder)
    with door.open() as recognizer:
        gallery = recognizer.gallery
        before = (gallery.revision, gallery.journal.newest, gallery.key.id)
        gallery.database.run("CREATE TEMP TRIGGER full BEFORE INSERT ON journal BEGIN SELECT RAISE(ABORT, 'full'); END")
        with pytest.raises(FedfrError, match="full"):
            change(recognizer, door)
        assert (gallery.revision, gallery.journal.newest, gallery.key.id) == before
        gallery.database.run("DROP TRIGGER full")
        change(recognizer, door)
        assert gallery.journal.entries(1)[0].kind == kind
        assert gallery.journal.newest == before[1] + 1
        assert recognizer.status().problem == ""


def test_old_entries_expire_and_the_chain_continues(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "door") as gallery:
        gallery.journal.append("identify", "reject")
        for day in range(1, 5):
            gallery.journal.append("identify", "reject", time=f"2020-01-0{day}T00:00:00Z")
        assert gallery.journal.expire() == 0, "an entry that is not old is before them"
    with Gallery.create(tmp_path / "other") as gallery:
        for day in range(1, 6):
            gallery.journal.append("identify", "reject", time=f"2020-01-0{day}T00:00:00Z")
        assert gallery.journal.verify().wrong is None
        gallery.journal.append("identify", "reject")
        gallery.journal.expire()
        kept = gallery.journal.entries()
        assert [entry.number for entry in kept] == [6]
        assert gallery.journal.verify().wrong is None
        gallery.change_settings(journal_days=0)
        assert gallery.journal.expire() == 0
