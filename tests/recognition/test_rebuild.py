"""Change of a gallery to another model: beside the old one, as a whole, and continued after an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support.doors import STRANGERS, Door, make_door, save_tiny_model
from tests.support.tiny_experiment import tiny_faces

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet
from fedfr.recognition.recognizer import Recognizer


@pytest.fixture
def new_model(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "new.safetensors", seed=5)


def enrol(recognizer: Recognizer, door: Door, *people: int) -> None:
    for person in people:
        assert recognizer.enrol(f"person {person}", door.photos(person, 0, 3), aligned=True).accepted == 3


def people_of(recognizer: Recognizer, door: Door) -> list[str | None]:
    """Whom the fifth photo of each of four people is taken for."""
    return [recognizer.identify(door.photos(person)[5], aligned=True).person for person in range(4)]


def models_of(door: Door) -> list[str]:
    return sorted(path.name for path in (door.folder / "models").iterdir())


@pytest.mark.parametrize("cohort", [False, True])
def test_stored_crops_are_enough(tmp_path: Path, new_model: Path, *, cohort: bool) -> None:
    """A recognizer that was open before decides with the new model, too."""
    door = make_door(tmp_path, crops=True, cohort=cohort)
    others = tiny_faces(20, 1, seed=8) if cohort else None
    with door.open() as recognizer, door.open() as other:
        enrol(recognizer, door, 0, 1, 2)
        before = people_of(other, door)
        space = other.status().space
        with recognizer.gallery.change():
            recognizer.gallery.set_strangers("sha256:given-up", np.eye(3, dtype=np.float32), "digest")
        found = recognizer.rebuild(new_model, strangers=door.strangers, cohort=others)
        assert (found.changed, found.people, found.waiting) == (True, 3, ())
        assert other.status().space == found.space != space
        assert people_of(other, door) == before == ["person 0", "person 1", "person 2", None]
        assert recognizer.gallery.spaces().keys() == {found.space}
        assert models_of(door) == [f"{found.space.removeprefix('sha256:')}.safetensors"]
        again = recognizer.rebuild(new_model)
        assert (again.changed, again.people) == (False, 3)
        assert recognizer.enrol("person 3", door.photos(3, 0, 3), aligned=True).enrolled
    with door.open() as recognizer:
        assert people_of(recognizer, door)[3] == "person 3"


def test_people_without_crops_come_from_a_face_set_or_need_a_photo(tmp_path: Path, new_model: Path) -> None:
    door = make_door(tmp_path)
    rows = np.concatenate([door.faces.indices_of(person)[:4] for person in (0, 1)])
    known = door.faces.subset(rows)
    known = FaceSet(known.images(range(len(known))), known.labels, ["Person_0", "person 1"])
    known.save(tmp_path / "faces")
    with door.open() as recognizer:
        enrol(recognizer, door, 0, 1, 2)
        with pytest.raises(FedfrError, match="nobody would be recognized"):
            recognizer.rebuild(new_model, strangers=door.strangers)
        assert people_of(recognizer, door)[:3] == ["person 0", "person 1", "person 2"]
        found = recognizer.rebuild(new_model, faces=tmp_path / "faces")
        assert [person.name for person in found.waiting] == ["person 2"]
        assert any("person 2" in line for line in found.lines())
        assert people_of(recognizer, door) == ["person 0", "person 1", None, None]
        status = recognizer.status()
        assert status.waiting == (found.waiting[0].id,)
        assert any("1 person has no template" in notice for notice in status.notices)
        assert recognizer.verify("person 2", door.photos(2)[5], aligned=True).reasons == ("needs-photo",)
        assert [len(person.photos) for person in recognizer.persons()] == [4, 4, 0]
        assert recognizer.enrol("person 2", door.photos(2, 0, 2), aligned=True).enrolled
        assert people_of(recognizer, door)[2] == "person 2"
        assert recognizer.status().waiting == ()


def test_the_old_model_serves_until_the_new_gallery_is_whole(tmp_path: Path, new_model: Path) -> None:
    """What is missing, or too little, is said; nothing changes; and the next call continues."""
    door = make_door(tmp_path, crops=True)
    few = door.strangers.subset(range(STRANGERS // 2))
    with door.open() as recognizer, door.open() as other:
        enrol(recognizer, door, 0, 1)
        space = recognizer.status().space
        for strangers, message in (
            (None, "name their photos or face set with --strangers"),
            (few, "found 20 strangers"),
        ):
            with pytest.raises(FedfrError, match=message):
                recognizer.rebuild(new_model, strangers=strangers)
            assert people_of(other, door)[:2] == ["person 0", "person 1"]
            assert other.status().space == space
        enrol(other, door, 2)
        recognizer.remove("person 0")
        found = recognizer.rebuild(new_model, strangers=door.strangers)
        assert (found.people, found.waiting) == (2, ())
        assert people_of(other, door) == [None, "person 1", "person 2", None]


def test_an_empty_gallery_gets_another_model(tmp_path: Path, new_model: Path) -> None:
    door = make_door(tmp_path)
    with door.open() as recognizer:
        assert recognizer.rebuild(new_model, strangers=door.strangers).people == 0
        enrol(recognizer, door, 0)
        assert people_of(recognizer, door)[0] == "person 0"
