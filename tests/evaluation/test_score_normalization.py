"""AS-norm compared with its definition, score by score, in every metric that takes a cohort."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.evaluation import (
    gallery_rows,
    gallery_templates,
    identify,
    open_set_identification,
    personalized_verification,
    tar_at_far,
)
from fedfr.evaluation.person_outcomes import identification_outcomes, verification_outcomes
from fedfr.evaluation.score_normalization import TOP

Floats = NDArray[np.float64]


def units(features: Floats) -> Floats:
    scaled: Floats = features / np.linalg.norm(features, axis=1, keepdims=True)
    return scaled


def normalized(rows: Floats, columns: Floats, cohort: Floats) -> Floats:
    """AS-norm by definition: mean and deviation of each side over its highest scores."""

    def side(features: Floats) -> tuple[Floats, Floats]:
        highest = np.sort(units(features) @ units(cohort).T, axis=1)[:, -min(TOP, len(cohort)) :]
        return highest.mean(axis=1), highest.std(axis=1)

    (mean_r, std_r), (mean_c, std_c) = side(rows), side(columns)
    scores = units(rows) @ units(columns).T
    found: Floats = ((scores - mean_r[:, None]) / std_r[:, None] + (scores - mean_c) / std_c) / 2
    return found


@pytest.fixture
def faces() -> tuple[Floats, NDArray[np.int64], Floats]:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(40), 4)
    # Images that resemble everybody to different degrees, which is what the cohort corrects.
    common = generator.normal(size=20) * generator.uniform(0, 2, (160, 1))
    features = generator.normal(size=(40, 20))[labels] + generator.normal(0, 0.8, (160, 20)) + common
    return features, labels, generator.normal(size=(300, 20)) + common[:1]


def test_verification(faces: tuple[Floats, NDArray[np.int64], Floats]) -> None:
    features, labels, cohort = faces
    own, rates = labels < 20, [0.1, 0.01]
    scores = normalized(features, features, cohort)
    once = np.triu(np.ones(scores.shape, np.bool_), 1) & (own[:, None] | own)
    same = labels[:, None] == labels
    expected = tar_at_far(scores[once & same], scores[once & ~same], rates)
    found = personalized_verification(features, labels, own, rates, cohort=cohort)
    assert [each.value for each in found] == [each.value for each in expected]
    assert [each.threshold for each in found] == pytest.approx([each.threshold for each in expected], rel=1e-4)
    outcomes = verification_outcomes(features, labels, own, found, rates, cohort=cohort)
    assert [each.value for each in outcomes] == [each.value for each in found]
    plain = personalized_verification(features, labels, own, rates)
    assert float(found[0].value or 0) > float(plain[0].value or 0)


def test_identification(faces: tuple[Floats, NDArray[np.int64], Floats]) -> None:
    features, labels, cohort = faces
    enrolled = (labels < 20) & (np.arange(160) % 2 == 0)
    templates, identities = gallery_templates(features[enrolled], labels[enrolled])
    probes, rows = features[~enrolled], gallery_rows(labels[~enrolled], identities)
    scores = normalized(probes, templates.astype(np.float64), cohort)
    own = np.where(rows >= 0, scores[np.arange(len(rows)), rows], -np.inf)
    scores[rows >= 0, rows[rows >= 0]] = -np.inf
    other = scores.max(axis=1)
    threshold = np.sort(other[rows < 0])[::-1][int(0.2 * (rows < 0).sum())]
    tpir = ((own > other) & (own > threshold))[rows >= 0].mean()
    found = open_set_identification(templates, probes, rows, [0.2], cohort=cohort)
    assert found[0].value == tpir
    through = identify(features[enrolled], labels[enrolled], probes, labels[~enrolled], [0.2], cohort=cohort)
    assert through == found
    (outcomes,) = identification_outcomes(templates, probes, rows, labels[~enrolled], found[:1], [0.2], cohort=cohort)
    assert outcomes.value == tpir


@pytest.mark.parametrize("cohort", [np.ones((1, 20)), np.ones((5, 19)), np.ones((0, 20))])
def test_unusable_cohorts(faces: tuple[Floats, NDArray[np.int64], Floats], cohort: Floats) -> None:
    features, labels, _ = faces
    with pytest.raises(FedfrError, match=r"cohort of shape .* give features of at least two other people"):
        personalized_verification(features, labels, labels < 20, [0.1], cohort=cohort)


def test_equal_cohort_members_and_binned_scores(faces: tuple[Floats, NDArray[np.int64], Floats]) -> None:
    features, labels, cohort = faces
    alike = np.repeat(cohort[:1], 3, axis=0)
    (found,) = personalized_verification(features, labels, labels < 20, [0.1], cohort=alike)
    assert found.value is not None
    with pytest.raises(FedfrError, match="cannot be used with a cohort"):
        personalized_verification(features, labels, labels < 20, [0.1], cohort=cohort, binned=True)
