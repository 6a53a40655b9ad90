"""Photos and galleries that a recognizer does not decide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.doors import FPIR, Door, make_door, save_tiny_model
from tests.support.tiny_experiment import tiny_faces

from fedfr.core.errors import FedfrError
from fedfr.recognition.decision import NO_DECISION
from fedfr.recognition.gallery.gallery import Gallery
from fedfr.recognition.photos.embedder import Embedder
from fedfr.recognition.recognizer import Recognizer


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return make_door(tmp_path)


def enrol(recognizer: Recognizer, door: Door, *people: int) -> None:
    for person in people:
        assert recognizer.enrol(f"person {person}", door.photos(person, 0, 3), aligned=True).accepted == 3


def test_a_model_of_another_space_decides_nothing(door: Door, tmp_path: Path) -> None:
    """Also if the model's file in the gallery was exchanged."""
    with door.open() as recognizer:
        enrol(recognizer, door, 0)
    other = save_tiny_model(tmp_path / "other.safetensors", seed=3)
    with Recognizer(Gallery.open(door.folder), Embedder.open(other, quality="off")) as recognizer:
        decision = recognizer.identify(door.photos(0)[5], aligned=True)
        assert (decision.outcome, decision.reasons) == (NO_DECISION, ("space-changed",))
        for change in (
            lambda: recognizer.enrol("ben", door.photos(1), aligned=True),
            recognizer.calibrate,
        ):
            with pytest.raises(FedfrError, match="another model"):
                change()
    (file,) = (door.folder / "models").iterdir()
    file.write_bytes(other.read_bytes())
    with door.open() as recognizer:
        assert recognizer.identify(door.photos(0)[5], aligned=True).reasons == ("space-changed",)


def living(frame: NDArray[np.uint8], crop: NDArray[np.uint8]) -> bool:
    return bool(frame[0, 0, 0] != 255)


def test_a_face_that_does_not_live_is_not_decided(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model.safetensors")
    strangers = tiny_faces(40, 1, seed=7)
    with Recognizer.create(
        tmp_path / "door", model=model, strangers=strangers, quality="off", fpir=FPIR, liveness=f"{__name__}:living"
    ) as recognizer:
        face = tiny_faces(1, 2, seed=1).images([0, 1])
        recognizer.enrol("ada", face[0], aligned=True)
        assert recognizer.identify(face[1], aligned=True).accepted
        dead = face[1].copy()
        dead[0, 0, 0] = 255
        decision = recognizer.identify(dead, aligned=True)
        assert (decision.outcome, decision.reasons) == (NO_DECISION, ("liveness",))


def test_photos_that_cannot_be_judged_are_no_decision(door: Door, tmp_path: Path) -> None:
    with door.open() as recognizer:
        enrol(recognizer, door, 0)
        for photo in (b"text", tmp_path / "missing.png", np.full((112, 112, 3), np.nan), np.zeros((9, 9, 3), np.uint8)):
            decision = recognizer.identify(photo, aligned=True)
            assert (decision.outcome, decision.reasons) == (NO_DECISION, ("unreadable",))
            assert recognizer.identify_all(photo, aligned=True) == [decision]
        with pytest.raises(FedfrError, match="there is no detector"):
            recognizer.identify(door.photos(0)[5])
