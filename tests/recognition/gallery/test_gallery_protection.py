"""What a thief, another user or a program without the key can do with a gallery: nothing that goes unnoticed."""

from __future__ import annotations

import os
import re
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.galleries import SPACE, filled_gallery, photos, read_everything
from tests.support.gallery_traces import plain_pieces, sealed_pieces
from tests.support.kill_steps import error_in_child, found_in

from fedfr.core.errors import FedfrError
from fedfr.recognition.gallery import encryption
from fedfr.recognition.gallery.encryption import SiteKey
from fedfr.recognition.gallery.gallery import Gallery


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of two persons, closed."""
    folder = tmp_path_factory.mktemp("galleries") / "door"
    filled_gallery(folder).close()
    return folder


@pytest.fixture
def door(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "door"))


def tampered(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "gallery.db", isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)


def refusal(folder: Path) -> str:
    """Return the error of reading everything."""
    with pytest.raises(FedfrError) as caught, Gallery.open(folder) as gallery:
        read_everything(gallery)
    text = str(caught.value)
    assert "\n" not in text
    for secret in ("Ada", "Bo Reed", "12.5"):
        assert secret not in text
    return text


SEALED = ("persons", "photos", "crops", "features", "templates", "calibrations", "blocks")


@pytest.mark.parametrize("kind", ["BLOB", "TEXT"])
@pytest.mark.parametrize("table", SEALED)
def test_a_changed_record_is_named(table: str, kind: str, door: Path) -> None:
    """One byte of the last record of each table, which is stored as bytes again, or as text."""
    tampered(
        door,
        f"UPDATE {table} SET sealed = CAST(substr(sealed, 1, 20) || CASE substr(sealed, 21, 1) WHEN x'00' THEN x'01' "
        f"ELSE x'00' END || substr(sealed, 22) AS {kind}) WHERE rowid = (SELECT max(rowid) FROM {table})",
    )
    assert f"the record {table}.sealed row " in refusal(door)


@pytest.mark.parametrize(("table", "column"), [*((table, "sealed") for table in SEALED[:5]), ("persons", "key")])
@pytest.mark.parametrize("swap", [True, False])
def test_records_stay_at_their_place(table: str, column: str, swap: bool, door: Path) -> None:
    """The records of two rows exchanged, or one copied over the other."""
    ends = f"SELECT min(rowid) FROM {table}", f"SELECT max(rowid) FROM {table}"
    tampered(
        door,
        f"CREATE TEMP TABLE kept AS SELECT {column} AS value FROM {table} WHERE rowid = ({ends[0]})",
        f"UPDATE {table} SET {column} = (SELECT {column} FROM {table} WHERE rowid = ({ends[1]})) "
        f"WHERE rowid = ({ends[0]})",
        *([f"UPDATE {table} SET {column} = (SELECT value FROM kept) WHERE rowid = ({ends[1]})"] if swap else []),
    )
    assert f"the record {table}.{column} " in refusal(door)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE meta SET value = zeroblob(60) WHERE name = 'state'",
        "UPDATE meta SET value = (SELECT key FROM persons LIMIT 1) WHERE name = 'state'",
        "UPDATE persons SET id = 'aaaaaaaaaaaa' WHERE row = (SELECT min(row) FROM persons)",
        "UPDATE spaces SET id = 'sha256:other'",
        "DELETE FROM templates WHERE row = (SELECT min(row) FROM templates)",
        "UPDATE templates SET person = 12345 WHERE row = (SELECT min(row) FROM templates)",
        "UPDATE templates SET person = 'Ada' WHERE row = (SELECT min(row) FROM templates)",
        "DELETE FROM photos WHERE row = (SELECT min(row) FROM photos)",
        "DELETE FROM blocks WHERE row = (SELECT max(row) FROM blocks)",
        "DELETE FROM calibrations",
        "DELETE FROM persons WHERE row = (SELECT max(row) FROM persons)",
        "CREATE TRIGGER t AFTER INSERT ON journal BEGIN DELETE FROM persons; END",
        "UPDATE meta SET value = 'another' WHERE name = 'format'",
    ],
)
def test_rows_of_another_program_are_refused(statement: str, door: Path) -> None:
    tampered(door, statement)
    refusal(door)


def test_a_name_tag_of_another_person_is_noticed(door: Path) -> None:
    with Gallery.open(door) as gallery:
        tampered(
            door,
            "CREATE TEMP TABLE kept AS SELECT tag FROM persons ORDER BY row",
            "UPDATE persons SET tag = row",
            "UPDATE persons SET tag = (SELECT tag FROM kept WHERE kept.rowid = 3 - (SELECT count(*) FROM persons o "
            "WHERE o.row <= persons.row))",
        )
        with pytest.raises(FedfrError, match=r"the record persons\.tag of person"):
            gallery.find("Ada Quill")


def test_a_removed_person_cannot_be_restored_from_a_backup(door: Path, whole: Path) -> None:
    """By a program that has an old copy of the database, and no key."""
    with Gallery.open(door) as gallery:
        victim = gallery.persons()[0].id
        gallery.remove(victim)
    tables = ("persons", "photos", "features", "templates", "crops")
    tampered(
        door,
        f"ATTACH '{whole / 'gallery.db'}' AS old",
        *(f"INSERT OR IGNORE INTO main.{table} SELECT * FROM old.{table}" for table in tables),
    )
    assert "rows of the table persons were added, removed or restored" in refusal(door)


def test_an_older_calibration_and_removed_photos_cannot_be_restored(door: Path, whole: Path) -> None:
    with Gallery.open(door) as gallery:
        ada = gallery.persons()[0]
        gallery.set_calibration(SPACE, {"threshold": 0.75})
        gallery.remove_photos(ada.id, ada.photos[:1])
    attach = f"ATTACH '{whole / 'gallery.db'}' AS old"
    tampered(door, attach, "DELETE FROM calibrations", "INSERT INTO calibrations SELECT * FROM old.calibrations")
    with Gallery.open(door) as gallery:
        with pytest.raises(FedfrError, match="rows of the table calibrations"):
            gallery.calibration()
        tampered(door, attach, *(f"INSERT OR IGNORE INTO {t} SELECT * FROM old.{t}" for t in ("photos", "features")))
        with pytest.raises(FedfrError, match=f"photo {ada.photos[0]} of person {ada.id} was added"):
            gallery.add_photos(ada.id, photos(1, seed=60))


def test_nothing_of_a_removed_person_is_left(door: Path) -> None:
    with Gallery.open(door) as gallery:
        plain = plain_pieces(gallery)
        assert found_in(door, plain) == [], "names and features are nowhere in plain text"
        people = [gallery.add_person(f"Person {n}", photos(2, seed=n, crop=False)) for n in range(2, 5)]
        traces = sealed_pieces(door, people[1].id)
        assert found_in(door, traces)
        removal = gallery.remove(people[1].id)
        assert (removal.photos, removal.crops, removal.cleared) == (2, 0, True)
        assert found_in(door, traces) == []
        with pytest.raises(FedfrError, match="nobody with the id"):
            gallery.remove(people[1].id)
        victim = gallery.persons()[0].id
        traces = sealed_pieces(door, victim)
        # A person whose records are damaged can be removed, too.
        tampered(door, f"UPDATE persons SET key = zeroblob(60) WHERE id = '{victim}'")
        assert gallery.remove(victim).crops == 2
        assert found_in(door, traces) == []
        assert gallery.count() == 3
        read_everything(gallery)


def test_traces_that_another_process_still_reads_are_removed_later(door: Path) -> None:
    with Gallery.open(door) as gallery, Gallery.open(door) as reader:
        victim = gallery.persons()[0].id
        traces = sealed_pieces(door, victim)
        gallery.database.rows("PRAGMA busy_timeout = 50")
        with reader.read():
            assert reader.persons()[0].id == victim
            assert not gallery.remove(victim).cleared
            assert reader.count() == 2, "one moment for all that is read together"
        assert reader.count() == 1
        gallery.rename(gallery.persons()[0].id, "Bob")
        assert found_in(door, traces) == []


def test_old_copies_and_new_keys_do_not_fit(door: Path, whole: Path, tmp_path: Path) -> None:
    with Gallery.open(door) as gallery:
        people = gallery.persons()
        gallery.rekey()
    for person in people:
        pieces = {what: piece for what, piece in sealed_pieces(whole, person.id).items() if not what.startswith("id ")}
        assert found_in(door, pieces) == []
    for key, database in ((whole, door), (door, whole)):
        mixed = tmp_path / f"mixed-{database is door}"
        shutil.copytree(database, mixed)
        shutil.copyfile(key / "site.key", mixed / "site.key")
        with pytest.raises(FedfrError, match="restore the key that belongs to it"):
            Gallery.open(mixed)
        # Even if the stolen key's id is written into the database.
        tampered(
            mixed, f"UPDATE meta SET value = CAST('{SiteKey.read_id(mixed / 'site.key')}' AS BLOB) WHERE name = 'key'"
        )
        with pytest.raises(FedfrError, match=r"the record meta\.state was changed"):
            Gallery.open(mixed)


def test_files_are_private_and_keys_of_others_refused(door: Path) -> None:
    with Gallery.open(door) as gallery:
        gallery.journal.append("identify", "reject")
        for name in ("site.key", "gallery.db", "gallery.db-wal"):
            assert stat.S_IMODE((door / name).stat().st_mode) == 0o600
    key = door / "site.key"
    key.chmod(0o640)
    with pytest.raises(FedfrError, match=r"site.key is readable by other users; chmod 600 it"):
        Gallery.open(door)
    key.chmod(0o600)
    with pytest.raises(FedfrError, match="without passphrase, and one was given"):
        Gallery.open(door, "correct horse")
    key.write_bytes(b"x" * 31)
    with pytest.raises(FedfrError, match=r"site.key is not the key of a gallery \(31 bytes"):
        Gallery.open(door)
    key.unlink()
    with pytest.raises(FedfrError, match=r"cannot read the key .*No such file"):
        Gallery.open(door)


def limited(folder: Path, room: int, operate: Callable[[Gallery], object]) -> str:
    """Return the error of an operation while no file can grow beyond ``room`` bytes: as on a full disk."""

    def work() -> None:
        with Gallery.open(folder) as gallery:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
            operate(gallery)

    return error_in_child(work, folder.with_name("error"))


def add_many(gallery: Gallery) -> None:
    with gallery.change():
        for number in range(100):
            gallery.add_person(f"More {number}", photos(2, seed=number))


@pytest.mark.parametrize("operate", [add_many, Gallery.rekey, lambda gallery: gallery.remove(gallery.persons()[0].id)])
@pytest.mark.parametrize("room", [1, 40_000])
def test_a_full_disk_loses_nothing(operate: Callable[[Gallery], object], room: int, door: Path) -> None:
    with Gallery.open(door) as gallery:
        before = read_everything(gallery)
    assert "free space" in limited(door, room, operate)
    with Gallery.open(door) as gallery:
        assert read_everything(gallery) == before
        gallery.add_person("Later", photos(1, seed=8))
    assert not (door / "site.key.new").exists()


def test_traces_are_removed_when_there_is_space_again(door: Path) -> None:
    """The disk has room for the deletion, and none for writing the database anew: the person is removed at once."""
    with Gallery.open(door) as gallery:
        victim = gallery.persons()[0].id
    traces = sealed_pieces(door, victim)
    error = limited(door, 300_000, lambda gallery: gallery.remove(victim))
    assert re.search("the change of .* is stored, but sealed traces .* free space, then open the gallery again", error)
    with Gallery.open(door) as gallery:
        assert victim not in [person.id for person in gallery.persons()]
        assert found_in(door, traces) == []


def test_a_gallery_that_cannot_be_written_can_be_read(door: Path) -> None:
    caps = "-dac_override,-dac_read_search,-fowner"
    drop = ["setpriv", "--bounding-set", caps, "--inh-caps", caps] if os.getuid() == 0 else []
    if drop and shutil.which("setpriv") is None:
        pytest.skip("root without setpriv")
    program = (
        "import pathlib, sys; from tests.support.galleries import Gallery\n"
        "with Gallery.open(pathlib.Path(sys.argv[1])) as gallery:\n"
        "    print(len(gallery.persons()), len(gallery.templates().ids)); gallery.add_person('More')"
    )
    for path in (*door.iterdir(), door):
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        done = subprocess.run([*drop, sys.executable, "-c", program, str(door)], capture_output=True, text=True)
    finally:
        door.chmod(0o700)
    assert done.stdout.split() == ["2", "2"]
    assert re.search(r"WriteError: cannot write in .*: Permission denied; free space or make", done.stderr)


def test_a_missing_library_is_said_in_one_line(door: Path) -> None:
    def without() -> None:
        encryption._library.cache_clear()
        for name in [name for name in sys.modules if name.startswith("cryptography")]:
            sys.modules[name] = None  # type: ignore[assignment]
        Gallery.open(door)

    expected = "galleries are encrypted, which needs cryptography; pip install 'fedfr[door]'"
    assert error_in_child(without, door.with_name("error")) == expected
