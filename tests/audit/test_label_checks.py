"""Label checks on features with known identities: split identities and mislabelled images."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedfr.audit import label_checks
from fedfr.audit.label_checks import MISLABEL_DEVIATIONS, MISLABEL_MARGIN, SAME_PERSON_DEVIATIONS, IdentityTemplates
from fedfr.core.errors import FedfrError

Features = NDArray[np.float64]
Labels = NDArray[np.int64]


def crowd(people: int, images: int, noise: float = 0.6, seed: int = 0) -> tuple[Features, Labels]:
    """Features in 128 dimensions, a direction for each person, lengths at random."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(people, 128))
    labels = np.repeat(np.arange(people), images)
    features = centres[labels] + noise * draw.normal(size=(len(labels), 128))
    return features * draw.uniform(0.5, 20, (len(labels), 1)), labels


@pytest.mark.parametrize("seed", range(5))
def test_correct_labels_have_no_findings(seed: int) -> None:
    people = IdentityTemplates(*crowd(200, 4, seed=seed))
    assert list(people.similar_identities()) == []
    assert list(people.mislabelled_images()) == []
    assert people.is_discriminative
    assert people.split_half_matches() == (200, 200)


def test_a_person_under_two_identities() -> None:
    features, labels = crowd(150, 4)
    labels[2:4] = 150  # half of person 0's images under a name of their own
    labels[400] = 151
    (first, second) = sorted(IdentityTemplates(features, labels).similar_identities(), key=lambda twin: twin.first)
    assert (first.first, first.second, second.first, second.second) == (0, 150, 100, 151)
    rows = features / np.linalg.norm(features, axis=1, keepdims=True)
    means = rows[:2].sum(axis=0), rows[2:4].sum(axis=0)
    cosine = means[0] @ means[1] / np.linalg.norm(means[0]) / np.linalg.norm(means[1])
    assert first.score == pytest.approx(cosine, abs=1e-5)


def test_the_closest_images_of_two_identities() -> None:
    features, labels = crowd(5, 4)
    rows = features / np.linalg.norm(features, axis=1, keepdims=True)
    scores = rows[4:8] @ rows[16:].T
    row, column = np.unravel_index(scores.argmax(), scores.shape)
    assert IdentityTemplates(features, labels).most_similar_images(1, 4) == (4 + row, 16 + column)


def test_images_under_the_wrong_identity() -> None:
    features, labels = crowd(150, 4)
    wrong = {7: 30, 13: 9, 599: 0}
    for image, label in wrong.items():
        labels[image] = label
    mislabelled_images = list(IdentityTemplates(features, labels).mislabelled_images())
    assert {each.image: each.nearest for each in mislabelled_images} == {7: 1, 13: 3, 599: 149}
    assert all(each.score - each.own > 0.3 for each in mislabelled_images)


def test_an_image_similar_to_no_identity_is_not_mislabelled() -> None:
    """An image far from its own identity and near no other is not reported as mislabelled."""
    features, labels = crowd(150, 4)
    features[10] = np.random.default_rng(9).normal(size=128)
    assert list(IdentityTemplates(features, labels).mislabelled_images()) == []


def test_the_only_image_of_an_identity_is_not_mislabelled() -> None:
    features, labels = crowd(100, 4)
    labels[5] = 100
    people = IdentityTemplates(features, labels)
    assert list(people.mislabelled_images()) == []
    assert [(twin.first, twin.second) for twin in people.similar_identities()] == [(1, 100)]


@pytest.mark.parametrize("block", [1, 7, 64])
def test_blocks_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = crowd(60, 3)
    labels[1], labels[178], labels[59] = 60, 60, 3
    expected = IdentityTemplates(features, labels)
    similar_identities, mislabelled_images = list(expected.similar_identities()), list(expected.mislabelled_images())
    assert similar_identities
    assert mislabelled_images
    monkeypatch.setattr(label_checks, "BLOCK", block)
    again = IdentityTemplates(features, labels)
    found = sorted(again.similar_identities(), key=lambda twin: (twin.first, twin.second))
    assert [(each.first, each.second) for each in found] == [(each.first, each.second) for each in similar_identities]
    assert [(each.image, each.nearest) for each in again.mislabelled_images()] == [
        (each.image, each.nearest) for each in mislabelled_images
    ]


def test_the_threshold_is_that_of_all_pairs() -> None:
    features, labels = crowd(80, 3)
    rows = features / np.linalg.norm(features, axis=1, keepdims=True)
    means = rows.reshape(80, 3, 128).sum(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    scores = (means @ means.T)[np.triu_indices(80, 1)]
    centre = np.median(scores)
    deviation = np.median(np.abs(scores - centre)) / 0.6744897501960817
    people = IdentityTemplates(features, labels)
    assert people.threshold == pytest.approx(centre + SAME_PERSON_DEVIATIONS * deviation, abs=1e-5)
    assert people.impostors.score_at(0) == pytest.approx(centre, abs=1e-6)


def test_a_tenth_of_doubles_hardly_moves_the_threshold() -> None:
    features, labels = crowd(200, 4)
    clean = IdentityTemplates(features, labels).threshold
    for person in range(20):
        labels[4 * person : 4 * person + 2] = 200 + person
    people = IdentityTemplates(features, labels)
    assert people.threshold == pytest.approx(clean, abs=0.03)
    assert len(list(people.similar_identities())) == 20


def test_a_sample_of_identities_gives_nearly_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = crowd(400, 2)
    every = IdentityTemplates(features, labels).threshold
    monkeypatch.setattr(label_checks, "MAX_SAMPLED", 100)
    sampled = IdentityTemplates(features, labels).threshold
    assert sampled == pytest.approx(every, abs=0.03)
    order = np.random.default_rng(0).permutation(400)
    assert IdentityTemplates(features, order[labels]).threshold == pytest.approx(sampled, abs=1e-6)


def test_the_order_of_images_changes_nothing() -> None:
    features, labels = crowd(100, 5, noise=1.4)
    labels[3], labels[77] = 100, 40
    expected = IdentityTemplates(features, labels)
    order = np.random.default_rng(0).permutation(len(labels))
    people = IdentityTemplates(features[order], labels[order])
    assert people.split_half_matches() == expected.split_half_matches()
    assert {(each.first, each.second) for each in people.similar_identities()} == {
        (e.first, e.second) for e in expected.similar_identities()
    }
    assert {int(order[each.image]) for each in people.mislabelled_images()} == {
        each.image for each in expected.mislabelled_images()
    }


def test_an_untrained_model_compares_no_identities() -> None:
    """Features of random weights point in similar directions, so that identities are not compared."""
    people = IdentityTemplates(np.random.default_rng(0).normal(size=(90, 4)) + 2, np.arange(90) // 3)
    assert people.threshold > 1
    assert not people.is_discriminative


def test_too_few_identities_for_a_threshold() -> None:
    for count in (1, 2):
        assert not IdentityTemplates(*crowd(count, 3)).is_discriminative


def test_reach_counts_identities_that_would_be_found() -> None:
    """Half of the identities have unrelated images, so that their halves do not match."""
    features, labels = crowd(100, 4)
    features[200:] = np.random.default_rng(5).normal(size=(200, 128))
    people = IdentityTemplates(features, labels)
    assert people.split_half_matches() == (50, 100)
    assert people.split_half_matches(np.arange(50)) == (50, 50)
    assert people.split_half_matches(np.arange(50, 100)) == (0, 50)


def test_features_that_are_not_finite_are_refused() -> None:
    features, labels = crowd(10, 2)
    features[3, 5] = np.nan
    with pytest.raises(FedfrError, match="row 3 holds NaN or infinity"):
        IdentityTemplates(features, labels)


def test_mislabelled_images_are_closer_to_another_identity() -> None:
    """Images equally near to another identity and to their own are not reported."""
    features, labels = crowd(100, 4)
    features[4:8] = features[0:4] + 0.3 * np.linalg.norm(features[0]) / 11 * np.random.default_rng(1).normal(
        size=(4, 128)
    )
    people = IdentityTemplates(features, labels)
    assert [(twin.first, twin.second) for twin in people.similar_identities()] == [(0, 1)]
    assert list(people.mislabelled_images()) == []
    assert MISLABEL_MARGIN < MISLABEL_DEVIATIONS < SAME_PERSON_DEVIATIONS
