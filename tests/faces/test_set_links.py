"""Stored combined face sets: links to their sets, damaged, moved or replaced ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.support.joined_sets import SETTINGS, named, people

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, make_split
from fedfr.faces.face_sets import NamedSet, combine


def test_another_set_is_refused_by_name(folder: Path) -> None:
    whole = combine(named(folder, "public", "private"), folder / "whole")
    split = make_split(whole, "general", **SETTINGS)
    other = combine([*named(folder, "public"), NamedSet("private", "private", people("pr", 5, 3, 9))])
    with pytest.raises(FedfrError, match=r"made for a face set 'private' with fingerprint \w{12}, this one has \w{12}"):
        split.check(other)
    with pytest.raises(FedfrError, match=r"made for the face sets public, private, these are public, north"):
        split.check(combine([*named(folder, "public"), NamedSet("north", "private", people("pr", 5, 3, 9))]))
    (folder / "private").rename(folder / "before")
    people("pr", 5, 3, 9).save(folder / "private")
    with pytest.raises(FedfrError, match=r"face set 'private' in .* has other faces than before"):
        FaceSet.load(folder / "whole")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("private/pixels.npy", 1000, "face set 'private': .*pixels.npy is truncated"),
        ("private/columns.dat", 10, "face set 'private': .*columns.dat has 10 bytes"),
        ("private/faces.json", None, "face set 'private' is not in .*private; restore it, or set its"),
        ("whole/sets.json", 40, r"sets.json is not valid JSON|sets.json"),
        ("whole/sets.json", None, "sets.json"),
    ],
)
def test_damaged_sets_are_named(folder: Path, file: str, content: int | None, message: str) -> None:
    combine(named(folder, "public", "private"), folder / "whole")
    path = folder / file
    kept = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(kept[:content])
    with pytest.raises(FedfrError, match=message) as caught:
        FaceSet.load(folder / "whole")
    assert "\n" not in str(caught.value)


def test_images_of_another_shape_are_refused_with_the_name_of_their_set(folder: Path) -> None:
    combine(named(folder, "public", "private"), folder / "whole")
    np.save(folder / "private" / "pixels.npy", np.zeros((15, 96, 112, 3), np.uint8))
    with pytest.raises(FedfrError, match=r"face set 'private': .* holds uint8 \(15, 96, 112, 3\), expected"):
        FaceSet.load(folder / "whole")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sets": [{"name": "public"}]}, "has a missing or invalid entry"),
        ({"sets": 3}, "has a missing or invalid entry"),
        ({"version": 2}, "does not list face sets"),
        ({"format": "x"}, "does not list face sets"),
    ],
)
def test_damaged_lists_of_sets(folder: Path, change: dict[str, object], message: str) -> None:
    combine(named(folder, "public", "private"), folder / "whole")
    path = folder / "whole" / "sets.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FedfrError, match=message):
        FaceSet.load(folder / "whole")


def test_a_moved_set_is_found_through_its_link(folder: Path, tmp_path: Path) -> None:
    combine(named(folder, "public", "private"), folder / "whole")
    (folder / "private").rename(tmp_path / "moved")
    with pytest.raises(FedfrError, match=r"face set 'private' is not in .*; restore it, or set its"):
        FaceSet.load(folder / "whole")
    links = folder / "whole" / "sets.json"
    content = json.loads(links.read_text())
    content["sets"][1]["folder"] = str(tmp_path / "moved")
    links.write_text(json.dumps(content))
    assert len(FaceSet.load(folder / "whole")) == 27


def test_a_combined_set_can_be_moved_with_its_parts(folder: Path) -> None:
    combine(named(folder, "public", "private"), folder / "whole")
    moved = folder.with_name("moved")
    folder.rename(moved)
    assert len(FaceSet.load(moved / "whole")) == 27
