"""Templates: mean within a medium, sum over media, independent of image order and block size."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support import plain_ijb as plain

from fedfr.core.errors import FedfrError
from fedfr.evaluation.ijb import TemplateSums
from fedfr.faces.readers.ijb import IjbImages

# Template and medium of each image: templates apart from each other, a medium of that number in two templates.
LISTED = [(7, 1), (3, 1), (7, 1), (7, 2), (3, 4), (9, 5), (7, 1), (3, 4), (9, 6), (9, 5), (3, 1)]
SCORES = [0.5, 0.9, 0.25, 1.0, 0.7, 0.6, 0.8, 0.3, 0.99, 0.01, 0.45]
FEATURES = np.random.default_rng(3).normal(0, 5, (len(LISTED), 6)).astype(np.float32)


def images() -> IjbImages:
    ids, rows = np.unique([template for template, _ in LISTED], return_inverse=True)
    return IjbImages(
        Path("nowhere"),
        tuple(f"{number}.jpg" for number in range(len(LISTED))),
        np.zeros((len(LISTED), 5, 2), np.float32),
        np.array(SCORES, np.float32),
        ids,
        rows,
        np.array([LISTED.count(each) for each in LISTED]),
    )


def added(features: NDArray[np.float32], sizes: list[int], *, norm: bool, faceness: bool) -> NDArray[np.float64]:
    sums, start = TemplateSums.of_images(images(), norm=norm, faceness=faceness), 0
    for size in sizes:
        sums.add(features[start : start + size])
        start += size
    return sums.features()


@pytest.mark.parametrize(("norm", "faceness"), list(itertools.product((True, False), repeat=2)))
def test_equals_plain_loops(*, norm: bool, faceness: bool) -> None:
    expected = plain.templates(FEATURES, LISTED, SCORES, norm=norm, faceness=faceness)
    for sizes in ([11], [1] * 11, [4, 0, 5, 2]):
        found = added(FEATURES, sizes, norm=norm, faceness=faceness)
        np.testing.assert_allclose(found, [expected[template] for template in (3, 7, 9)], rtol=1e-12, atol=1e-14)


def test_a_still_counts_as_much_as_a_video() -> None:
    """By hand: template 7 is the mean of three frames plus one still, each weighted by its score."""
    frames = [0, 2, 6]
    total = sum(FEATURES[row].astype(float) * np.float32(SCORES[row]) for row in frames) / 3
    total = total + FEATURES[3].astype(float) * SCORES[3]
    found = added(FEATURES, [11], norm=True, faceness=True)[1]
    np.testing.assert_allclose(found, total / np.sqrt((total**2).sum()), rtol=1e-12)


def test_feature_length_matters_only_if_it_is_kept() -> None:
    longer = FEATURES * np.linspace(0.5, 3, len(FEATURES), dtype=np.float32)[:, None]
    kept = [added(each, [11], norm=True, faceness=True) for each in (FEATURES, longer)]
    assert np.abs(kept[0] - kept[1]).max() > 0.01
    without = [added(each, [11], norm=False, faceness=True) for each in (FEATURES, longer)]
    np.testing.assert_allclose(without[0], without[1], rtol=1e-5, atol=1e-6)


def test_a_template_without_any_weight_stays_zero() -> None:
    nothing = images()
    nothing.faceness[nothing.templates == 2] = 0
    sums = TemplateSums.of_images(nothing)
    sums.add(FEATURES)
    found = sums.features()
    assert (found[2] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(found[:2], axis=1), 1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_invalid_feature_is_named(value: float) -> None:
    damaged = FEATURES.copy()
    damaged[5, 2] = value
    sums = TemplateSums.of_images(images())
    sums.add(damaged[:4])
    with pytest.raises(FedfrError, match=r"feature of image 5.jpg has no finite length above 0; the model is damaged"):
        sums.add(damaged[4:])


def test_zero_features_are_allowed_only_if_lengths_are_kept() -> None:
    flat = FEATURES.copy()
    flat[4] = 0
    assert np.isfinite(added(flat, [11], norm=True, faceness=True)).all()
    with pytest.raises(FedfrError, match=r"feature of image 4.jpg has no finite length above 0"):
        added(flat, [11], norm=False, faceness=True)


def test_each_image_is_added_once() -> None:
    sums = TemplateSums.of_images(images())
    with pytest.raises(FedfrError, match="features of 0 of 11 images were given"):
        sums.features()
    sums.add(FEATURES[:6])
    with pytest.raises(FedfrError, match="features of 6 of 11 images were given; give all"):
        sums.features()
    for wrong in (FEATURES[:6], FEATURES[6:, :3], FEATURES[6]):
        with pytest.raises(FedfrError, match=r"features after 6 of 11 images have shape \("):
            sums.add(wrong)
