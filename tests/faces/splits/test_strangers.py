"""Strangers of a split: people set apart for the calibration of thresholds, in no other part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.joined_sets import people as some_people
from tests.support.tiny_experiment import tiny_faces

from fedfr.audit import audit_images
from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, Split, make_split
from fedfr.faces.face_sets import NamedSet, combine
from fedfr.faces.splits.stranger_identities import set_strangers_apart

MakeFaces = Callable[[Sequence[int]], FaceSet]
GENERAL: dict[str, Any] = {
    "public_identities": 3,
    "clients": 2,
    "identities_per_client": 2,
    "distractors": "generic",
    "seed": 4,
}


@pytest.fixture
def faces(make_faces: MakeFaces) -> FaceSet:
    return make_faces([3, 2, 4, 3, 2, 3, 5, 2, 3, 1, 2, 1])


def people(faces: FaceSet, images: Sequence[int]) -> set[str]:
    return set(faces.identities_of(images))


def test_strangers_leave_the_generic_part_and_nothing_else_changes(faces: FaceSet, tmp_path: Path) -> None:
    before = make_split(faces, "general", **GENERAL)
    split = make_split(faces, "general", **GENERAL, stranger_identities=2)
    assert (split.public, split.clients) == (before.public, before.clients)
    strangers = people(faces, split.strangers)
    assert len(strangers) == 2
    assert people(faces, split.generic) == people(faces, split.distractors)
    assert people(faces, split.generic) == people(faces, before.generic) - strangers
    assert sorted([*split.generic, *split.strangers]) == sorted(before.generic)
    assert split.settings["stranger_identities"] == 2
    assert set(split.identities["strangers"]) == strangers
    split.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json") == split
    before.save(tmp_path / "before.json")
    assert "stranger" not in (tmp_path / "before.json").read_text()
    assert "stranger_identities" not in before.settings


def test_every_recipe_has_the_setting(make_faces: MakeFaces) -> None:
    faces = make_faces([3] * 6)
    split = make_split(faces, "sites", clients=["north"], generic_identities=3, stranger_identities=2)
    assert {name: len(images) for name, images in split.parts().items() if len(images)} == {
        "public": 9,
        "generic": 3,
        "strangers": 6,
    }
    dropped = make_split(faces, "sites", clients=["a"], generic_identities=2, stranger_identities=2, duplicates="drop")
    assert len(people(faces, dropped.strangers)) == 2


@pytest.mark.parametrize(
    ("count", "reason"),
    [
        (6, "needs 6 strangers, but has 5 generic identities; lower stranger_identities, or give it more"),
        (-1, "stranger_identities = -1; give a whole number of at least 0"),
        ("all", "stranger_identities = 'all'; give a whole number"),
        (None, "stranger_identities = None; give a whole number"),
    ],
)
def test_impossible_numbers_are_refused(faces: FaceSet, count: Any, reason: str) -> None:
    with pytest.raises(FedfrError, match=reason):
        make_split(faces, "general", **GENERAL, stranger_identities=count)


def test_people_of_pairs_are_no_strangers(faces: FaceSet) -> None:
    split = make_split(faces, "general", **GENERAL)
    first, second = np.unique(faces.labels[np.asarray(split.generic)])[:2].tolist()
    pair = (int(faces.indices_of(first)[0]), int(faces.indices_of(second)[0]))
    with pytest.raises(FedfrError, match="needs 4 strangers, but has 3 generic identities that are in no pair"):
        set_strangers_apart(replace(split, pairs=(pair,)), faces, 4)
    made = make_split(faces, "general", **GENERAL, stranger_identities=5)
    with pytest.raises(FedfrError, match="of a person of strangers, whom thresholds are calibrated with; remove"):
        replace(made, pairs=(pair,)).check(faces)


@pytest.mark.parametrize("part", ["public", "client", "generic"])
def test_a_stranger_in_another_part_is_refused(faces: FaceSet, part: str) -> None:
    split = make_split(faces, "general", **GENERAL, stranger_identities=2)
    taken = {"public": split.public, "client": split.clients["client-01"].train, "generic": split.generic}[part]
    # Another image of the same person: no image is in two parts.
    kept = list(taken)
    moved = kept.pop()
    changed: dict[str, Any] = {"strangers": [*split.strangers, moved], "distractors": ()}
    if part == "client":
        own = replace(split.clients["client-01"], train=kept)
        changed["clients"] = {**split.clients, "client-01": own}
    else:
        changed[part] = kept
    owner = {"public": "public", "client": "client-01", "generic": "generic or distractors"}[part]
    with pytest.raises(FedfrError, match=f"is in {owner} and in strangers of the split; keep it in one"):
        replace(split, **changed).check(faces)


def test_the_audit_finds_a_near_copy_of_a_public_image_among_the_strangers() -> None:
    faces = tiny_faces(12, 3, alike=1)
    split = make_split(faces, "general", **GENERAL, stranger_identities=2)
    pixels = faces.images(range(len(faces))).copy()
    pixels[split.strangers[0]] = pixels[split.public[0]][:, ::-1]
    mirrored = FaceSet(pixels, faces.labels, faces.identities, list(faces.names))
    found = audit_images(mirrored, replace(split, faces_fingerprint=mirrored.fingerprint()))
    (finding,) = (each for each in found if each.kind == "image-in-two-parts")
    assert [case.parts for case in finding.cases] == [("public", "strangers")]


def test_private_faces_are_never_strangers() -> None:
    """Strangers are published; faces of private sets never leave their site."""
    sets = [
        NamedSet("public", "public", some_people("a", 5, 2)),
        NamedSet("private", "private", some_people("b", 6, 2, 1)),
    ]
    joined = combine(sets)
    settings: dict[str, Any] = {"public_identities": 2, "clients": 1, "identities_per_client": 2, "test_count": 1}
    split = make_split(joined, "general", **settings, stranger_identities=3)
    assert {name.partition("/")[0] for name in people(joined, split.strangers)} == {"public"}
    with pytest.raises(FedfrError, match="has 3 generic identities, and in no private face set"):
        make_split(joined, "general", **settings, stranger_identities=4)
    with pytest.raises(FedfrError, match=r"strangers of the split has .* images of the private face set"):
        replace(split, strangers=split.generic, generic=(), distractors=()).check(joined)
