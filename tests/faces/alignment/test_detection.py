"""Face detection: known landmarks of LFW, images of any size, verification of detector files."""

from __future__ import annotations

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.photograph_files import YUNET, lfw_landmarks, texture

from fedfr.core.errors import FedfrError
from fedfr.faces.alignment.detection import (
    KNOWN_DETECTORS,
    Detector,
    DetectorFile,
    Face,
    _shrunk,
    choose_main_face,
    open_detector,
)
from fedfr.faces.readers.image_reading import read_image


@pytest.fixture(scope="module")
def model(models_dir: Path) -> DetectorFile:
    return open_detector(models_dir / YUNET)


@pytest.fixture(scope="module")
def detector(model: DetectorFile) -> Detector:
    return Detector(model)


def eyes(face: Face) -> float:
    return float(np.linalg.norm(face.points[1] - face.points[0]))


def enlarged(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def test_landmarks_of_lfw(data_dir: Path, detector: Detector) -> None:
    """All 56 faces, including images with people in the background; known points have two decimals."""
    errors = []
    for name, known in lfw_landmarks(data_dir).items():
        image = read_image(data_dir / "lfw250_sample" / name)
        found = choose_main_face(detector.find(image), image.shape)
        errors.append(np.linalg.norm(found.points - known.points, axis=1).mean())
        assert found.score == pytest.approx(known.score, abs=6e-4)
    assert len(errors) == 56
    assert np.max(errors) < 0.05


def test_landmarks_found_in_a_smaller_copy_are_refined(data_dir: Path, detector: Detector) -> None:
    """A face 95 pixels wide in 12 megapixels is 15 pixels wide in the copy, so it is detected again at a larger scale.

    The detector's own scatter is 3 to 8 % of the distance of the eyes; without the second detection it would be 28 %.
    """
    away = []
    scene = np.full((3000, 4000, 3), 90, np.uint8)
    for name, known in list(lfw_landmarks(data_dir).items())[:6]:
        scene[2100:2350, 2900:3150] = read_image(data_dir / "lfw250_sample" / name)
        found = choose_main_face(detector.find(scene), scene.shape)
        away.append(np.linalg.norm(found.points - known.points - [2900, 2100], axis=1).mean() / eyes(known))
        assert found.box is not None
        x, y, width, height = found.box
        assert (found.points > (x, y)).all()
        assert (found.points < (x + width, y + height)).all()
    assert np.mean(away) < 0.12


def test_a_face_that_fills_the_photograph_is_found(data_dir: Path, detector: Detector) -> None:
    for name in list(lfw_landmarks(data_dir))[:4]:
        near = enlarged(read_image(data_dir / "lfw250_sample" / name)[80:170, 80:170], 7)
        best = detector.find(near)[0]
        assert best.score is not None
        assert best.score > 0.8


def test_a_photograph_halved_before_it_is_reduced_hardly_differs() -> None:
    large = np.asarray(cv2.resize(texture(300, 400), (3600, 2600), interpolation=cv2.INTER_CUBIC), np.uint8)
    (expected, found) = cv2.resize(large, (640, 462), interpolation=cv2.INTER_AREA), _shrunk(large, (640, 462))
    assert np.abs(expected.astype(int) - found).max() <= 1


def test_a_face_in_a_grey_image(data_dir: Path, detector: Detector) -> None:
    for name in list(lfw_landmarks(data_dir))[:3]:
        image = read_image(data_dir / "lfw250_sample" / name)
        grey = np.repeat(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)[..., None], 3, axis=2)
        known = choose_main_face(detector.find(image), image.shape)
        assert (
            np.linalg.norm(choose_main_face(detector.find(grey), grey.shape).points - known.points, axis=1).mean() < 6
        )


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (700, 1), (5, 7), (33, 31), (641, 2000)])
def test_images_of_any_shape_without_a_face(detector: Detector, shape: tuple[int, int]) -> None:
    assert detector.find(np.full((*shape, 3), 128, np.uint8)) == ()


def test_all_threads_give_equal_results(data_dir: Path, model: DetectorFile) -> None:
    images = [read_image(data_dir / "lfw250_sample" / name) for name in list(lfw_landmarks(data_dir))[:4]]

    def all_of_them(_: int) -> list[bytes]:
        own = Detector(model)
        return [face.points.tobytes() for image in images for face in own.find(image)]

    with ThreadPoolExecutor(3) as pool:
        first, *others = pool.map(all_of_them, range(3))
    assert len(first) >= 4
    assert others == [first, first]


def face(x: float, y: float, width: float, height: float) -> Face:
    return Face(np.zeros((5, 2)), 0.9, (x, y, width, height))


def test_the_larger_and_more_central_face_is_chosen() -> None:
    """A·(1 - d/D) by hand, in an image 160 wide and 120 high: its middle is 80, 60, and D is 100."""
    middle, larger = face(70, 50, 20, 20), face(60, 40, 40, 40)
    assert choose_main_face([middle, larger], (120, 160, 3)) is larger
    corner = face(145, 105, 30, 30)  # 900 · (1 - 100/100) = 0 < 400
    assert choose_main_face([corner, middle], (120, 160, 3)) is middle
    aside = face(115, 45, 30, 30)  # 900 · (1 - 50/100) = 450 > 400
    assert choose_main_face([middle, aside], (120, 160, 3)) is aside
    farther = face(122, 45, 30, 30)  # 900 · (1 - 57/100) = 387 < 400
    assert choose_main_face([middle, farther], (120, 160, 3)) is middle
    assert choose_main_face([corner], (120, 160, 3)) is corner


@pytest.fixture
def other_model(models_dir: Path, tmp_path: Path) -> Path:
    """The detector with a byte more at its end, in a folder with a difficult name."""
    place = tmp_path / "dé tecteur 顔" / "yu net.onnx"
    place.parent.mkdir()
    shutil.copyfile(models_dir / YUNET, place)
    with place.open("ab") as file:
        file.write(b"\x22\x00")  # an empty, unknown domain: protobuf's parser takes it
    return place


def test_an_unknown_detector_must_be_confirmed(other_model: Path) -> None:
    found = hashlib.sha256(other_model.read_bytes()).hexdigest()
    assert found not in KNOWN_DETECTORS
    with pytest.raises(FedfrError, match=f"yu net.onnx has SHA-256 {found}, which is not a known detector") as error:
        open_detector(other_model)
    assert f"--detector-sha256 {found}" in str(error.value)
    with pytest.raises(FedfrError, match=f"has SHA-256 {found}, not {'0' * 64} as confirmed"):
        open_detector(other_model, "0" * 64)
    assert open_detector(other_model, found.upper()).sha256 == found


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07" * 500])
def test_other_files_are_refused_as_detectors_even_if_confirmed(
    tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(FedfrError, match=r"OpenCV cannot use .*model\.onnx as a YuNet detector"):
        open_detector(path, hashlib.sha256(content).hexdigest())
    assert capfd.readouterr().err == ""


def test_a_truncated_or_missing_detector_is_refused(models_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes((models_dir / YUNET).read_bytes()[:50_000])
    with pytest.raises(FedfrError, match="not a known detector"):
        open_detector(path)
    with pytest.raises(FedfrError, match=r"cannot read the detector .*gone\.onnx: No such file"):
        open_detector(tmp_path / "gone.onnx")
    with pytest.raises(FedfrError, match=r"cannot read the detector .*: Is a directory"):
        open_detector(tmp_path)


def test_no_face_is_found_in_noise(detector: Detector) -> None:
    assert [found for found in detector.find(texture(240, 320)) if (found.score or 0) > 0.6] == []
