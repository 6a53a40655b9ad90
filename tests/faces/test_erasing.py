"""Erasure of a person from stored sets of every kind, and mentions of names in lists and logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.joined_sets import people
from tests.support.kill_steps import found_in
from tests.support.recordio_files import records

from fedfr.faces import FaceSet
from fedfr.faces.erasing import erase_from_set, find_person, remove_staged, stage
from fedfr.faces.face_sets import NamedSet, combine
from fedfr.faces.name_mentions import Mentions
from fedfr.faces.readers.recordio_import import import_recordio


def erase(name: str, *folders: Path) -> None:
    for erasure in find_person({folder: FaceSet.load(folder) for folder in folders}, lambda each: each == name):
        erase_from_set(erasure, Mentions([name]))


def test_a_combined_set_is_linked_again(tmp_path: Path) -> None:
    """The person is erased from the part, also as an omitted identity, and the combined set opens."""
    for name, prefix, seed in (("public", "p", 1), ("one", "q", 2), ("two", "r", 3)):
        people(prefix, seed=seed).save(tmp_path / name)
    sets = [
        NamedSet(name, role, FaceSet.load(tmp_path / name), left)
        for name, role, left in (("public", "public", {}), ("one", "private", {"q1": "asked"}), ("two", "private", {}))
    ]
    combine(sets, tmp_path / "all")
    every = [tmp_path / name for name in ("public", "one", "two", "all")]
    two = FaceSet.load(tmp_path / "two")
    kept, gone = two.images([0]), two.images(two.indices_of(2)[:1]).tobytes()[5000:5032]
    erase("r2", *every)
    erase("q1", *every)
    whole = FaceSet.load(tmp_path / "all")
    assert [name for name in whole.identities if not name.startswith("public/")] == [
        "one/q0", "one/q2", "one/q3", "two/r0", "two/r1", "two/r3",
    ]  # fmt: skip
    assert (whole.images(whole.indices_of(whole.identities.index("two/r0"))[:1]) == kept).all()
    assert FaceSet.load(tmp_path / "one").identities == ("q0", "q2", "q3")
    assert found_in(tmp_path, {"left out": b'"q1"', "removed": gone}) == []


def test_a_set_of_a_recordio_file_gets_its_own_images(tmp_path: Path) -> None:
    import_recordio(records(tmp_path / "faces.rec", (0, 0, 1, 2)), tmp_path / "set", link=True)
    before = FaceSet.load(tmp_path / "set")
    (erasure,) = find_person({tmp_path / "set": before}, lambda name: name == before.identities[1])
    assert erasure.source == str(tmp_path / "faces.rec")
    kept = before.images([0, 1, 3])
    erase_from_set(erasure, Mentions([before.identities[1]]))
    (tmp_path / "faces.rec").unlink()
    assert (FaceSet.load(tmp_path / "set").images([0, 1, 2]) == kept).all()


def test_what_is_left_beside_a_set_is_removed_and_nothing_else(tmp_path: Path) -> None:
    faces = people("q")
    faces.save(tmp_path / "set")
    others = [tmp_path / name for name in (".other.remaining", ".set.remaining-notes", "set.remaining")]
    for place in others:
        place.mkdir()
    (erasure,) = find_person({tmp_path / "set": FaceSet.load(tmp_path / "set")}, lambda name: name == "q1")
    stage(erasure, Mentions(["q1"]))
    assert (tmp_path / ".set.remaining" / "faces.json").exists()
    (tmp_path / "..set.remaining.tmp.7.tmp").mkdir()
    remove_staged(tmp_path / "set")
    assert set(tmp_path.iterdir()) == {*others, tmp_path / "set"}


@pytest.mark.parametrize(
    ("text", "mentioned"),
    [
        ("Ann A", True),
        ("/photos/Ann A/3.jpg is damaged", True),
        ("'Ann_A': too small", True),
        ("ＡＮＮ　Ａ", True),
        ("Joann A", False),
        ("Ann Abel", False),
        ("a visit of Ann Aë", False),
        ("“Ann A”", True),
        ("Ann A_1.jpg", True),
        ("Ann", False),
        ("round 7 of 9", False),
        ("identity '7'", True),
        ("photos/7/1.jpg", True),
    ],
)
def test_mentions(text: str, mentioned: bool) -> None:
    """Whole names only; a name that is a number counts only where it is quoted or part of a path."""
    assert Mentions(["Ann A", "7"]).in_text(text) == mentioned


def test_mentions_in_files(tmp_path: Path) -> None:
    mentions = Mentions(["Zoë\tQ"])
    log = json.dumps({"round": 7, "message": "Zoë\tQ and 'Zoë\tQ'", "who": "Zoë"}, ensure_ascii=False)
    content, count = mentions.replaced_bytes(log.encode(), "person-1")
    assert count == 2
    assert json.loads(content) == {"round": 7, "message": "person-1 and 'person-1'", "who": "Zoë"}
    for name, text, expected, removed in (
        ("a.csv", 'image,why\n"Zoë\tQ/1.jpg","a\nb"\nBo/2.jpg,"c\nd"\n', 'image,why\nBo/2.jpg,"c\nd"\n', 1),
        ("a.txt", "Bo\nZoë\tQ\n", "Bo\n", 1),
        ("a.json", '{"Zoë\\tQ": 1, "b": [{"who": "Zoë\\tQ"}, {"who": "Bo"}]}', '{"b": [{"who": "Bo"}]}', 2),
        ("b.csv", "image,why\r\n", "image,why\r\n", 0),
    ):
        (tmp_path / name).write_bytes(text.encode())
        found = mentions.without_entries(tmp_path / name)
        assert found is not None
        assert found[1] == removed
        same = json.loads(found[0]) == json.loads(expected) if name == "a.json" else found[0].decode() == expected
        assert same
    for name, damaged in (("c.json", b"{"), ("d.csv", b'a,"b'), ("e.txt", b"\xff\xfe"), ("sheet.html", b"")):
        (tmp_path / name).write_bytes(damaged)
        assert mentions.without_entries(tmp_path / name) is None
