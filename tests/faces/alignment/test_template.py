"""Alignment to the ArcFace template: closed form, crop, and aligned faces of LFW."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.support.photograph_files import lfw_landmarks, texture

from fedfr.core.errors import FedfrError
from fedfr.faces.alignment.template import ARCFACE_TEMPLATE, align, similarity
from fedfr.faces.readers.image_reading import read_image


def umeyama(source: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64]:
    """Equations 38 to 43 of the paper, by singular values."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    left, values, right = np.linalg.svd(b.T @ a / len(a))
    sign = np.diag([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ sign @ right
    scale = np.trace(np.diag(values) @ sign) / a.var(axis=0).sum()
    return np.hstack([scale * rotation, (target.mean(axis=0) - scale * rotation @ source.mean(axis=0))[:, None]])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_the_closed_form_equals_umeyama(seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-500, 500, (5, 2))
    np.testing.assert_allclose(similarity(points), umeyama(points, ARCFACE_TEMPLATE), rtol=1e-9, atol=1e-9)


@given(st.floats(0.05, 20), st.floats(-math.pi, math.pi), st.floats(-4000, 4000), st.floats(-4000, 4000))
@settings(max_examples=200, deadline=None)
def test_a_similarity_transform_is_inverted_exactly(scale: float, angle: float, x: float, y: float) -> None:
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = similarity(ARCFACE_TEMPLATE @ turn.T + [x, y])
    back = (ARCFACE_TEMPLATE @ turn.T + [x, y]) @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(back, ARCFACE_TEMPLATE, atol=1e-6)


def test_a_mirrored_face_stays_mirrored() -> None:
    mirrored = ARCFACE_TEMPLATE * [-1, 1]
    assert np.linalg.det(similarity(mirrored)[:, :2]) > 0


@pytest.mark.parametrize("points", [np.zeros((4, 2)), np.zeros(10), ARCFACE_TEMPLATE.T])
def test_another_number_of_points_is_refused(points: NDArray[Any]) -> None:
    with pytest.raises(FedfrError, match=r"alignment needs five points \(5, 2\), these are"):
        similarity(points)


@pytest.mark.parametrize("value", [math.nan, math.inf, 7.0])
def test_degenerate_landmarks_are_refused(value: float) -> None:
    with pytest.raises(FedfrError, match="give finite points that do not coincide"):
        similarity(np.full((5, 2), value))


def test_an_aligned_face_is_unchanged() -> None:
    image = texture(112, 112)
    np.testing.assert_array_equal(align(image, ARCFACE_TEMPLATE), image)


@pytest.mark.parametrize("place", [(0, 0), (301, 77), (4000, 2500)])
def test_crops_are_black_outside_the_image(place: tuple[int, int]) -> None:
    image = texture(112, 112)
    large = np.full((place[1] + 100, place[0] + 112, 3), 255, np.uint8)
    large[place[1] :, place[0] :] = image[:100]
    found = align(large, ARCFACE_TEMPLATE + place)
    np.testing.assert_array_equal(found[:100], image[:100])
    assert (found[100:] == 0).all()


@pytest.mark.parametrize("factor", [3, 8, 15])
def test_large_faces_are_averaged_when_reduced(factor: int) -> None:
    """Each pixel is the mean of the square of noise that it was enlarged to."""
    image = texture(112, 112)
    noise = np.random.default_rng(1).integers(-60, 61, (112 * factor, 112 * factor, 3), dtype=np.int16)
    large = (image.repeat(factor, axis=0).repeat(factor, axis=1) + noise).clip(0, 255).astype(np.uint8)
    points = (ARCFACE_TEMPLATE + 0.5) * factor - 0.5
    away = np.abs(align(large, points).astype(int) - image).mean()
    sampled = cv2.warpAffine(large, similarity(points), (112, 112), flags=cv2.INTER_LINEAR)
    assert away < 0.6 * np.abs(sampled.astype(int) - image).mean()


@pytest.mark.parametrize("factor", [2.5, 7.3, 15])
def test_large_faces_keep_their_position(factor: float) -> None:
    """A shift of a quarter of a pixel of the template would be noticed; pixels are squares with a middle."""
    image = texture(112, 112)
    large = np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    points = (ARCFACE_TEMPLATE + 0.5) * factor - 0.5
    away = np.abs(align(large, points).astype(int) - image).mean()
    for shift in ([factor / 4, 0], [0, factor / 4], [-factor / 4, 0], [0, -factor / 4]):
        assert away < 0.8 * np.abs(align(large, points + shift).astype(int) - image).mean()


def test_an_image_wider_than_the_limit_of_opencv() -> None:
    image = texture(112, 112)
    wide = np.zeros((112, 40_000, 3), np.uint8)
    wide[:, 39_000:39_112] = image
    np.testing.assert_array_equal(align(wide, ARCFACE_TEMPLATE + np.array([39_000, 0])), image)


def test_alignment_of_lfw(data_dir: Any) -> None:
    """Those were kept as JPEG, which is 1.2 grey levels; half a pixel to the side would be 3.4 (at least 2.1)."""
    away, shifted = [], []
    for name, face in lfw_landmarks(data_dir).items():
        original, kept = (read_image(data_dir / kind / name) for kind in ("lfw250_sample", "lfw112"))
        away.append(np.abs(align(original, face.points).astype(int) - kept).mean())
        moved = face.points - np.array([0.5, 0]) / similarity(face.points)[0, 0]
        shifted.append(np.abs(align(original, moved).astype(int) - kept).mean())
    assert len(away) == 56
    assert np.mean(away) < 1.3
    assert np.max(away) < 1.7
    assert np.min(shifted) > 1.7
