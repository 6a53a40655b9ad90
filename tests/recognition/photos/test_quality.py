"""Quality gates: measured values by hand, and every rule with a planted fault in real photographs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.photograph_files import YUNET, lfw_landmarks, texture

from fedfr.faces.alignment.detection import Face, open_detector
from fedfr.faces.alignment.photographs.aligners import YunetAligner
from fedfr.faces.alignment.photographs.landmarks import read_landmarks
from fedfr.faces.alignment.template import ARCFACE_TEMPLATE
from fedfr.faces.readers.image_reading import read_image
from fedfr.models import OpenedModel, Preprocessing, build_backbone
from fedfr.recognition import GATES, REASONS, Embedder, estimate_pose, measure_quality

Image = NDArray[np.uint8]


def head(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """The five points of an average head after rotation, in orthographic projection; millimetres, doubled."""
    points = np.array([[-31, 0, 0], [31, 0, 0], [0, 0.56 * 72, -26], [-25, 72, 0], [25, 72, 0]])
    (sin_y, sin_p, sin_r), (cos_y, cos_p, cos_r) = (f(np.radians([yaw, pitch, roll])) for f in (np.sin, np.cos))
    about_y = np.array([[cos_y, 0, -sin_y], [0, 1, 0], [sin_y, 0, cos_y]])
    about_x = np.array([[1, 0, 0], [0, cos_p, -sin_p], [0, sin_p, cos_p]])
    about_z = np.array([[cos_r, -sin_r, 0], [sin_r, cos_r, 0], [0, 0, 1]])
    rotated: NDArray[np.float64] = (points @ (about_z @ about_x @ about_y).T)[:, :2] * 2 + 300
    return rotated


@pytest.mark.parametrize("angles", [(0, 0, 0), (30, 0, 0), (-45, 0, 10), (0, 20, 0), (0, -20, -30), (70, 0, 0)])
def test_the_pose_of_an_average_head(angles: tuple[float, float, float]) -> None:
    pose = estimate_pose(head(*angles))
    assert (pose.yaw, pose.pitch) == pytest.approx(angles[:2], abs=0.01)
    assert pose.roll == pytest.approx(angles[2], abs=1)


def test_points_on_a_line_are_a_profile() -> None:
    line = np.stack([np.full(5, 50.0), np.arange(5) * 20.0], axis=1)
    assert abs(estimate_pose(line).yaw) == 90


def test_exposure_and_border_by_hand() -> None:
    crop = np.full((112, 112, 3), 100, np.uint8)
    crop[24:104, 24:30] = 255  # 6 of 64 columns
    quality = measure_quality(crop, Face(np.subtract(ARCFACE_TEMPLATE, [28, 0]), 0.9, (0, 0, 112, 112)), (112, 112, 3))
    assert (quality.shadows, quality.highlights, quality.contrast) == (100, 255, 155)
    assert quality.overexposed == 6 / 64
    assert quality.outside == pytest.approx(0.25)
    assert quality.size == pytest.approx(112)
    assert measure_quality(crop).outside is None


def test_detail_is_the_least_of_four_directions() -> None:
    """Stripes have detail in one direction only: what motion blur leaves."""
    stripes = np.zeros((112, 112, 3), np.uint8)
    stripes[::2] = 200
    quality = measure_quality(stripes)
    assert quality.sharpness > 1000
    assert quality.detail == 0
    assert measure_quality(texture(112, 112)).detail > 4


@pytest.fixture(scope="module")
def embedders(models_dir: Any) -> dict[str, Embedder]:
    model = OpenedModel(build_backbone("slimface-small", 0), Preprocessing(), "generic")
    aligner = YunetAligner(open_detector(models_dir / YUNET))
    return {gate: Embedder(model, aligner, gate) for gate in GATES.builtin}


@pytest.fixture(scope="module")
def photographs(data_dir: Any) -> list[Image]:
    return [read_image(data_dir / "lfw250_sample" / name) for name in list(lfw_landmarks(data_dir))[::4]]


def turned(image: Image, degrees: float) -> Image:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height)), np.uint8)


def scaled(image: Image, by: float, more: float = 0) -> Image:
    return np.clip(image.astype(float) * by + more, 0, 255).astype(np.uint8)


FAULTS: dict[str, tuple[str, Callable[[Image], Any]]] = {
    "blurred": ("too-blurred", lambda image: cv2.GaussianBlur(image, (0, 0), 3)),
    "moved": ("too-blurred", lambda image: cv2.filter2D(image, -1, np.ones((1, 17)) / 17)),
    "dark": ("too-dark", lambda image: scaled(image, 0.2)),
    "bright": ("too-bright", lambda image: scaled(image, 1, 150)),
    "hazy": ("low-contrast", lambda image: scaled(image, 0.15, 110)),
    "small": ("too-small", lambda image: cv2.resize(image, None, fx=0.35, fy=0.35, interpolation=cv2.INTER_AREA)),
    "tilted": ("rotated", lambda image: turned(image, 60)),
    "on its side": ("rotated", lambda image: np.ascontiguousarray(np.rot90(image))),
    "upside down": ("rotated", lambda image: np.ascontiguousarray(image[::-1, ::-1])),
    "cropped": ("at-border", lambda image: np.ascontiguousarray(image[:, 95:])),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_rejected(fault: str, embedders: dict[str, Embedder], photographs: list[Image]) -> None:
    """Of all photographs at least 90 % for the planted reason, the others for another one."""
    reason, plant = FAULTS[fault]
    seen = [embedders["standard"].look(np.asarray(plant(image), np.uint8), alone=False) for image in photographs]
    reasons = [faces[0].reasons if faces else ("no-face",) for faces in seen]
    assert sum(not found for found in reasons) <= 1
    usable = [found for found in reasons if found != ("no-face",)]
    assert np.mean([reason in found or "low-score" in found for found in usable]) >= 0.9
    assert REASONS.keys() >= {code for found in reasons for code in found}


def test_ordinary_photographs_pass(embedders: dict[str, Embedder], photographs: list[Image], data_dir: Any) -> None:
    seen = [embedders["standard"].look(image, alone=False)[0].reasons for image in photographs]
    assert set(seen) <= {(), ("pose",)}
    assert seen.count(()) >= len(seen) - 1
    known = read_landmarks(data_dir / "lfw250_landmarks.tsv").faces
    names = list(known)[::40]
    qualities = [measure_quality(read_image(data_dir / "lfw112" / name), known[name], (250, 250, 3)) for name in names]
    passing = {gate: np.mean([not GATES[gate].reasons(quality) for quality in qualities]) for gate in GATES.builtin}
    assert passing["off"] == 1
    assert passing["standard"] >= 0.98
    assert 0.75 < passing["strict"] < passing["standard"]


@pytest.mark.parametrize("gate", GATES.builtin)
def test_every_gate_needs_exactly_one_face(gate: str, embedders: dict[str, Embedder], photographs: list[Image]) -> None:
    one, other = photographs[:2]
    both = np.concatenate([one, other], axis=1)
    seen = embedders[gate].look(both)
    assert len(seen) == 2
    assert all("several-faces" in face.reasons for face in seen)
    assert not any("several-faces" in face.reasons for face in embedders[gate].look(both, alone=False))
    assert embedders[gate].look(np.zeros((200, 300, 3), np.uint8)) == []
    quarter = cv2.resize(other, None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA)
    beside = np.concatenate([one, np.zeros((250, 75, 3), np.uint8)], axis=1)
    beside[:75, 250:] = quarter
    assert "several-faces" not in embedders[gate].look(beside)[0].reasons
    if gate == "off":
        assert embedders[gate].look(scaled(one, 0.2))[0].reasons == ()
