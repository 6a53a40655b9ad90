"""Position of the mean face: known shifts and scales of the reference are recovered."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fedfr.audit.crops import CENTRE, MEAN_FACE, TEMPLATE, locate_mean_face

Plane = NDArray[np.float32]


def mean_face() -> Plane:
    cells = np.array(MEAN_FACE, np.float32) / 40
    return np.asarray(cv2.resize(cells, (112, 112), interpolation=cv2.INTER_CUBIC), np.float32)


@pytest.mark.parametrize(
    ("scale", "right", "down"), [(1, 0, 0), (1, 5, -3), (0.75, 0, 0), (0.75, -6, 6), (1.28, 0, -9), (0.55, 4, 0)]
)
def test_a_known_shift_is_found(scale: float, right: float, down: float) -> None:
    matrix = np.array([[scale, 0, CENTRE[0] * (1 - scale) + right], [0, scale, CENTRE[1] * (1 - scale) + down]])
    placed = cv2.warpAffine(mean_face(), matrix, (112, 112), borderMode=cv2.BORDER_REPLICATE)
    found = locate_mean_face(np.asarray(placed, np.float32))
    moved = (TEMPLATE - CENTRE) * scale + (right, down) + CENTRE
    assert found.scale == scale
    assert found.shift == pytest.approx((right, down), abs=0.7)
    assert found.offset == pytest.approx(np.sqrt(((moved - TEMPLATE) ** 2).sum(axis=1).mean()), abs=0.7)
    assert found.correlation > 0.98
    assert found.is_aligned == (found.offset <= 3)


def test_depth_is_the_contrast_of_eyes_and_mouth() -> None:
    assert locate_mean_face(mean_face()).contrast == pytest.approx(1)
    assert locate_mean_face(mean_face() * 0.5).contrast == pytest.approx(0.5)
    assert not locate_mean_face(mean_face() * 0.5).is_aligned


def test_the_reference_is_symmetric_and_complete() -> None:
    cells = np.array(MEAN_FACE)
    assert cells.shape == (16, 16)
    np.testing.assert_array_equal(cells, cells[:, ::-1])


@pytest.mark.parametrize("plane", [np.zeros((112, 112)), np.random.default_rng(0).normal(size=(112, 112))])
def test_an_empty_set_has_no_mean_face(plane: NDArray[np.float64]) -> None:
    found = locate_mean_face(plane)
    assert not found.is_aligned
    assert "no mean face" in found.describe()
