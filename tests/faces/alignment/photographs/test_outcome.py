"""Outcomes of photographs: reasons for rejection and measured values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.photograph_files import save, texture

from fedfr.faces.alignment.detection import Face
from fedfr.faces.alignment.photographs.outcome import Limits, Outcome, align_photograph, sharpness
from fedfr.faces.alignment.template import ARCFACE_TEMPLATE
from fedfr.faces.readers.image_reading import read_image


@dataclass(frozen=True)
class Given:
    """An aligner whose faces are known beforehand."""

    found: tuple[Face, ...]
    no_face_reason: str = "no-face"
    settings: Mapping[str, str] = field(default_factory=dict)

    def faces(self, name: str, image: NDArray[np.uint8]) -> tuple[Face, ...]:
        return self.found


def face(left: float, top: float, scale: float = 1.0, score: float | None = 0.9) -> Face:
    side = 112 * scale
    return Face(ARCFACE_TEMPLATE * scale + [left, top], score, (left, top, side, side))


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    return save(tmp_path / "x.png", texture(300, 400))


def reason(path: Path, *found: Face, limits: Limits | None = None) -> Outcome:
    return align_photograph(path, "a/x.png", Given(found), limits or Limits())


def test_values_of_an_accepted_photograph(photograph: Path) -> None:
    outcome = reason(photograph, face(144, 94), face(0, 0, score=0.5))
    assert (outcome.reason, outcome.width, outcome.height, outcome.faces) == ("", 400, 300, 1)
    assert (outcome.score, outcome.size) == (0.9, 112)
    assert outcome.pixels is not None
    np.testing.assert_array_equal(outcome.pixels, texture(300, 400)[94:206, 144:256])
    assert outcome.sharpness == pytest.approx(sharpness(outcome.pixels), abs=0.01)


def test_no_face_or_a_low_score(photograph: Path) -> None:
    assert reason(photograph) == Outcome("a/x.png", "no-face", 400, 300)
    unsure = reason(photograph, face(144, 94, score=0.59), face(0, 0, score=0.3))
    assert unsure == Outcome("a/x.png", "low-score", 400, 300, faces=0, score=0.59)
    assert not reason(photograph, face(144, 94, score=0.59), limits=Limits(score=0.5)).reason
    assert not reason(photograph, face(144, 94, score=None), limits=Limits(score=1)).reason


def test_photographs_with_several_faces_are_skipped_on_request(photograph: Path) -> None:
    """A face at least a quarter as large counts; smaller faces and those with a low score do not."""
    main, half, less = face(144, 94), face(10, 10, 0.5), face(10, 10, 0.49)
    alone = Limits(several=False)
    assert not reason(photograph, main, half).reason
    assert reason(photograph, main, half, limits=alone) == Outcome(
        "a/x.png", "several-faces", 400, 300, faces=2, score=0.9
    )
    assert not reason(photograph, main, less, limits=alone).reason
    assert not reason(photograph, main, face(10, 10, 0.5, 0.5), limits=alone).reason


def test_too_small(photograph: Path) -> None:
    limits = Limits(sharpness=0)
    assert reason(photograph, face(144, 94, 0.49), limits=limits).reason == "too-small"
    found = reason(photograph, face(144, 94, 0.51), limits=limits)
    assert (found.reason, found.size) == ("", 57.12)


def test_too_blurred(tmp_path: Path) -> None:
    sharp = texture(112, 112)
    kinds = {blur: cv2.GaussianBlur(sharp, (0, 0), blur) for blur in (1, 8)}
    paths = {blur: save(tmp_path / f"{blur}.png", np.asarray(image, np.uint8)) for blur, image in kinds.items()}
    assert not reason(paths[1], face(0, 0)).reason
    blurred = reason(paths[8], face(0, 0))
    assert blurred.reason == "too-blurred"
    assert blurred.sharpness is not None
    assert blurred.sharpness < 8
    assert blurred.pixels is None


def test_the_default_sharpness_keeps_lfw_and_rejects_blurred_copies(data_dir: Path) -> None:
    """Every eightieth face; a Gaussian of three pixels removes all fine texture."""
    paths = sorted((data_dir / "lfw112").glob("*/*.jpg"))[::80]
    faces = [read_image(path) for path in paths]
    assert min(sharpness(image) for image in faces) > Limits().sharpness
    blurred = [np.asarray(cv2.GaussianBlur(image, (0, 0), 3), np.uint8) for image in faces]
    assert np.mean([sharpness(image) < Limits().sharpness for image in blurred]) > 0.95


def test_sharpness_by_hand() -> None:
    """A single white pixel: the Laplacian is -4·255 there, 255 at its four neighbours, 0 elsewhere."""
    image = np.zeros((10, 10, 3), np.uint8)
    image[5, 5] = 255
    assert sharpness(image) == pytest.approx((16 * 255**2 + 4 * 255**2) / 100)


def test_unreadable_files_keep_their_error(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(b"no image")
    outcome = reason(path, face(0, 0))
    assert outcome == Outcome("a/x.png", "unreadable", detail="not an image of a known format")


def test_landmarks_outside_the_image_are_rejected_as_blurred(photograph: Path) -> None:
    assert reason(photograph, face(-5000, 94)).reason == "too-blurred"
    assert reason(photograph, face(900_000, -900_000, 0.001)).reason == "too-small"
