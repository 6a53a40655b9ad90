"""People on whom a model was trained are no strangers: refused at every way in, also as copies of their images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.support.doors import FPIR, STRANGERS, Door, make_door, save_tiny_model
from tests.support.tiny_experiment import tiny_faces

from fedfr import FaceSet, FedfrError
from fedfr.recognition.gallery import encryption
from fedfr.recognition.photos.image_hash import image_hash, rows_of_copies
from fedfr.recognition.recognizer import Recognizer

TRAINED = tiny_faces(12, 4, seed=3)
IMAGE = "1 of 40 strangers are no strangers to the model: they have a copy of an image there, for example .?stranger 7"


def named(faces: FaceSet, what: str = "stranger") -> FaceSet:
    """The same faces under names that nobody else has."""
    return FaceSet(faces.images(range(len(faces))), faces.labels, [f"{what} {n}" for n in range(faces.num_identities)])


def with_trained(how: str) -> FaceSet:
    """Strangers of whom number 7 is a person on whom the model was trained."""
    strangers = named(tiny_faces(STRANGERS, 1, seed=7))
    pixels = strangers.images(range(len(strangers)))
    image = TRAINED.images([13])[0]
    if how == "jpeg":
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    if how == "mirrored":
        image = image[:, ::-1]
    if how == "darker":
        image = image // 2
    pixels[7] = image
    return FaceSet(pixels, strangers.labels, strangers.identities)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Door:
    """A gallery that knows on whom its model was trained, with one person."""
    folder = tmp_path_factory.mktemp("trained")
    model, strangers = save_tiny_model(folder / "model.safetensors"), named(tiny_faces(STRANGERS, 1, seed=7))
    door = Door(folder / "door", model, tiny_faces(3, 6, seed=1), strangers)
    with Recognizer.create(
        door.folder, model=model, strangers=strangers, trained_on=[TRAINED], quality="off", fpir=FPIR, crops=True
    ) as recognizer:
        recognizer.enrol("ada", door.photos(0, 0, 3), aligned=True)
    return door


@pytest.mark.parametrize("how", ["equal", "jpeg", "mirrored", "darker"])
def test_copies_are_refused_at_the_creation_and_later(made: Door, tmp_path: Path, how: str) -> None:
    mixed = with_trained(how)
    with pytest.raises(FedfrError, match=IMAGE):
        Recognizer.create(
            tmp_path / "new", model=made.model, strangers=mixed, trained_on=[TRAINED], quality="off", fpir=FPIR
        )
    assert not (tmp_path / "new").exists()
    with made.open() as recognizer:
        before = recognizer.gallery.revision
        with pytest.raises(FedfrError, match=IMAGE):
            recognizer.calibrate(strangers=mixed)
        assert recognizer.gallery.revision == before
        assert recognizer.status().trained_images == len(TRAINED)


def test_a_folder_of_photos_is_compared_too(made: Door, tmp_path: Path) -> None:
    mixed = with_trained("jpeg")
    for name, image in zip(mixed.identities, mixed.images(range(len(mixed))), strict=True):
        (tmp_path / "photos" / name).mkdir(parents=True)
        assert cv2.imwrite(str(tmp_path / "photos" / name / "one.jpg"), image[:, :, ::-1])
    with made.open() as recognizer, pytest.raises(FedfrError, match=IMAGE):
        recognizer.calibrate(strangers=tmp_path / "photos")


def test_the_same_name_is_refused_and_a_number_is_none(made: Door) -> None:
    pixels, labels = made.strangers.images(range(STRANGERS)), made.strangers.labels
    alike = FaceSet(pixels, labels, ["Person_03", *made.strangers.identities[1:]])
    with made.open() as recognizer:
        with pytest.raises(FedfrError, match=r"1 of 40 strangers .* have the name of somebody there"):
            recognizer.calibrate(strangers=FaceSet(pixels, labels, ["PERSON-03", *made.strangers.identities[1:]]))
        recognizer.calibrate(strangers=alike)  # a blank in place of the dash is another name
        recognizer.calibrate(strangers=FaceSet(pixels, labels, [str(number) for number in range(STRANGERS)]))


def test_they_are_known_after_a_rebuild_another_key_and_in_a_copy(
    made: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encryption, "_COST", min(encryption._COSTS))
    with made.open() as recognizer:
        recognizer.export(tmp_path / "copy", "some random words")
    mixed, new = with_trained("equal"), save_tiny_model(tmp_path / "new.safetensors", seed=5)
    with Recognizer.open(tmp_path / "copy", "some random words") as recognizer:
        with pytest.raises(FedfrError, match=IMAGE):
            recognizer.rebuild(new, strangers=mixed)
        assert recognizer.rebuild(new, strangers=made.strangers).changed
        recognizer.rekey()
        with pytest.raises(FedfrError, match=IMAGE):
            recognizer.calibrate(strangers=mixed)
        # Another model, of which something else is known, was not trained on them.
        newer, others = (
            save_tiny_model(tmp_path / "newer.safetensors", seed=6),
            named(tiny_faces(5, 2, seed=4), "other"),
        )
        assert recognizer.rebuild(newer, strangers=mixed, trained_on=[others]).changed
        assert recognizer.status().trained_images == len(others)


def test_without_any_knowledge_nothing_is_checked_and_that_is_said(tmp_path: Path) -> None:
    door = make_door(tmp_path)
    with door.open() as recognizer:
        recognizer.calibrate(strangers=with_trained("equal"))
        status = recognizer.status()
    assert status.trained_images is None
    assert status.facts()["strangers"] == "40, not checked: on whom the model was trained is not known"


def test_other_faces_are_no_copies() -> None:
    faces = tiny_faces(60, 2, seed=9)
    hashes = np.stack([image_hash(image) for image in faces.images(range(len(faces)))])
    assert rows_of_copies(hashes[2:], hashes[:2]).tolist() == []
