"""Checks of new photos on features drawn around the directions of persons."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedfr.recognition.decision import StrangersPassing
from fedfr.recognition.enrolment.enrolment_checks import SimilarPerson, find_outliers, typical_scores

DIM = 64
NONE = np.empty((0, DIM), np.float32)


def images(person: int, count: int, spread: float = 0.08, seed: int = 0) -> NDArray[np.float32]:
    """Unit features of images of a person; the cosine of two is about 1 / (1 + 64 · spread²)."""
    direction = np.random.default_rng((1, person)).normal(size=DIM)
    direction /= np.linalg.norm(direction)
    found = direction + np.random.default_rng((2, person, seed)).normal(0, spread, (count, DIM))
    unit: NDArray[np.float32] = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return unit


STRANGERS = np.concatenate([images(1000 + number, 1) for number in range(300)])


@pytest.mark.parametrize("place", range(4))
def test_a_photo_of_somebody_else_is_found_wherever_it_is(place: int) -> None:
    new = np.insert(images(1, 3), place, images(2, 1)[0], axis=0)
    assert find_outliers(new, NONE, STRANGERS) == [place]


def test_photos_of_one_person_are_no_outliers() -> None:
    for person in range(20):
        for count in (1, 2, 5):
            assert find_outliers(images(person, count), NONE, STRANGERS) == []


def test_two_photos_that_do_not_agree_are_both_outliers() -> None:
    assert find_outliers(np.concatenate([images(1, 1), images(2, 1)]), NONE, STRANGERS) == [0, 1]


def test_enrolled_photos_decide() -> None:
    """Also against a majority of new ones, and for one new photo."""
    assert find_outliers(images(2, 1), images(1, 1), STRANGERS) == [0]
    assert find_outliers(images(2, 2), images(1, 3), STRANGERS) == [0, 1]
    assert find_outliers(images(1, 2, seed=5), images(1, 3), STRANGERS) == []


def test_several_outliers_are_found() -> None:
    new = np.concatenate([images(1, 4), images(2, 1), images(3, 1)])
    assert find_outliers(new, NONE, STRANGERS) == [4, 5]


def test_the_typical_score_is_that_of_the_median_photo() -> None:
    scores = np.array([[0.1, 0.9], [0.2, 0.1], [0.9, 0.2]], np.float32)
    np.testing.assert_allclose(typical_scores(scores), [0.2, 0.2])


def test_a_similar_person_says_how_similar() -> None:
    similar = SimilarPerson("ada", "01", 0.71234, StrangersPassing(0.002, 0.006, 1000, 15))
    assert similar.text == (
        "resembles ada (score 0.71), and 2 of 1000 strangers resemble an enrolled person so much: a twin, a relative, "
        "or a second enrolment"
    )
    assert similar.to_json()["as_similar"]["upper95"] == 0.006
