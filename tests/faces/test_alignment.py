"""Five points to the ArcFace template: the nearest similarity, never a mirror image, and the warp that follows it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedfr.errors import FedfrError
from fedfr.faces.alignment import ARCFACE_TEMPLATE, align, similarity


def solved(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same least squares by another way: (a, b, tx, ty) of x' = ax - by + tx, y' = bx + ay + ty is linear."""
    rows, targets = [], []
    for (x, y), (u, v) in zip(points.tolist(), ARCFACE_TEMPLATE.tolist(), strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        targets += [u, v]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0]
    return np.array([[a, -b, tx], [b, a, ty]])


@given(st.integers(0, 10_000))
def test_it_is_the_least_squares_similarity(seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-50, 300, (5, 2))
    np.testing.assert_allclose(similarity(points), solved(points), rtol=1e-7, atol=1e-7)


def test_a_moved_template_is_moved_back() -> None:
    np.testing.assert_allclose(similarity(ARCFACE_TEMPLATE), [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    turn = 1.7 * np.array([[np.cos(2.5), -np.sin(2.5)], [np.sin(2.5), np.cos(2.5)]])
    matrix = similarity(ARCFACE_TEMPLATE @ turn.T + [31, -7])
    np.testing.assert_allclose(matrix[:, :2] @ turn, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(matrix[:, :2] @ [31, -7] + matrix[:, 2], 0, atol=1e-12)


def test_a_mirrored_face_is_not_mirrored_back() -> None:
    matrix = similarity(ARCFACE_TEMPLATE * [-1, 1] + [112, 0])
    assert np.linalg.det(matrix[:, :2]) > 0


def test_every_pixel_is_taken_from_where_the_points_say() -> None:
    """A picture whose colour is its place: what stands at x, y of the face came from the inverse of the matrix."""
    y, x = np.mgrid[0:256, 0:256]
    image = np.stack([x, y, np.full_like(x, 77)], axis=2).astype(np.uint8)
    turn = 1.4 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    points = ARCFACE_TEMPLATE @ turn.T + [70, 20]
    face = align(image, points)
    assert face.shape == (112, 112, 3)
    for u, v in [(20, 30), (56, 56), (90, 80), (38, 52)]:
        np.testing.assert_allclose(face[v, u], [*(turn @ [u, v] + [70, 20]), 77], atol=1)


def test_outside_of_the_picture_it_is_black() -> None:
    face = align(np.full((60, 60, 3), 200, np.uint8), ARCFACE_TEMPLATE)
    assert (face[:59, :59] == 200).all()
    assert (face[61:] == 0).all()
    assert (face[:, 61:] == 0).all()


def test_real_faces_come_out_as_they_were_aligned_before(data_dir: Path) -> None:
    """LFW's originals with their published points against the crops made of them elsewhere, kept as JPEG."""
    lines = (data_dir / "lfw250_landmarks.tsv").read_text().splitlines()
    points = {line.split("\t")[0]: line.split("\t")[1:11] for line in lines}
    checked = 0
    for path in sorted((data_dir / "lfw250_sample").rglob("*.jpg"))[:12]:
        name = f"{path.parent.name}/{path.name}"
        original, crop = cv2.imread(str(path)), cv2.imread(str(data_dir / "lfw112" / name))
        assert original is not None
        assert crop is not None
        face = align(np.asarray(original, np.uint8), np.array(points[name], np.float64).reshape(5, 2))
        difference = np.abs(face.astype(int) - crop.astype(int))
        assert difference.mean() < 4, name
        shifted = np.abs(np.roll(face, 2, axis=1).astype(int) - crop.astype(int))
        assert difference.mean() < shifted.mean() / 1.5, name
        checked += 1
    assert checked == 12


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((4, 2)), r"shape \(4, 2\); alignment needs five"),
        (np.full((5, 2), 3.5), "not all the same"),
        (np.where(np.eye(5, 2) > 0, np.nan, 1.0), "finite"),
        (np.where(np.eye(5, 2) > 0, np.inf, 1.0), "finite"),
    ],
)
def test_points_that_align_nothing(points: NDArray[np.float64], message: str) -> None:
    with pytest.raises(FedfrError, match=message):
        similarity(points)
