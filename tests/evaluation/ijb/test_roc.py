"""InsightFace's reading of the ROC curve: compared step by step, and its difference from the exact metric."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import plain_ijb as plain

from fedfr.evaluation import tar_at_far
from fedfr.evaluation.ijb import comparison_scores, insightface_tar

FARS = (0.3, 0.1, 0.05, 0.01)


def found(scores: list[float], same: list[int], fars: tuple[float, ...] = FARS) -> list[float | None]:
    marks = np.array(same, np.bool_)
    return [each.value for each in insightface_tar(np.array(scores), marks, fars, minimum_impostors=0)]


def test_example_of_scikit_learn() -> None:
    """The example in its documentation, with rates 0, 0, 0.5, 0.5, 1 and 0, 0.5, 0.5, 1, 1."""
    scores, same = [0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]
    assert [(a / 2, b / 2) for a, b in plain.roc_points(scores, same)] == [
        (0, 0),
        (0, 0.5),
        (0.5, 0.5),
        (0.5, 1),
        (1, 1),
    ]
    assert found(scores, same, (0.2, 0.25, 0.3, 0.74, 0.76)) == [0.5, 1, 1, 1, 1]


def test_dropped_points_are_not_used() -> None:
    """Ten impostors above the genuine pair: of the ten steps the first and the last are left on the curve."""
    scores = [*np.linspace(0.9, 0.5, 10).tolist(), 0.4, *np.linspace(0.3, 0.1, 10).tolist()]
    same = [0] * 10 + [1] + [0] * 10
    assert plain.roc_points(scores, same) == [(0, 0), (1, 0), (10, 0), (10, 1), (20, 1)]
    # Six impostors of twenty would be nearest to 0.3; ten are, of those left, and then the genuine pair is accepted.
    assert found(scores, same, (0.3,)) == [1.0]
    assert tar_at_far(np.array([0.4]), np.array(scores)[np.array(same) == 0], (0.3,), minimum_impostors=0)[0].value == 0


def test_the_higher_of_two_equally_near_rates_is_used() -> None:
    scores, same = [0.9, 0.8, 0.7, 0.6, 0.5], [0, 1, 0, 1, 0]
    points = plain.roc_points(scores, same)
    assert points == [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (3, 2)]
    assert found(scores, same, (0.5,)) == [1.0]
    assert plain.nearest_tar(scores, same, 0.5) == 1.0


@given(st.lists(st.tuples(st.integers(-9, 9), st.booleans()), min_size=3, max_size=60))
@settings(deadline=None)
def test_equals_plain_loops(pairs: list[tuple[int, bool]]) -> None:
    """With ties among and between genuine and impostor scores."""
    scores, same = [value / 10 for value, _ in pairs] + [0.05, -0.35], [int(mark) for _, mark in pairs] + [1, 0]
    assert found(scores, same) == [plain.nearest_tar(scores, same, far) for far in FARS]


def test_the_exact_metric_equals_plain_loops() -> None:
    generator = np.random.default_rng(1)
    same = (generator.random(900) < 0.3).astype(int)
    scores = np.round(generator.normal(same * 1.2, 1), 2) / 8
    listed = (scores.tolist(), same.tolist())
    exact = tar_at_far(scores[same == 1], scores[same == 0], (0.3, 0.1, 0.02))
    assert [each.value for each in exact] == [plain.exact_tar(*listed, far) for far in (0.3, 0.1, 0.02)]
    published = insightface_tar(scores, same == 1, (0.3, 0.1, 0.02))
    assert [each.value for each in published] == [plain.nearest_tar(*listed, far) for far in (0.3, 0.1, 0.02)]
    assert all(each.threshold is not None and each.threshold in scores for each in published)


def test_metrics_with_too_few_impostors_are_refused() -> None:
    generator = np.random.default_rng(2)
    same = np.arange(1100) < 100
    metrics = insightface_tar(generator.normal(size=1100), same, (0.1, 0.01, 0.001))
    assert [each.name for each in metrics] == [f"TAR(insightface)@FAR={far}" for far in ("1e-1", "1e-2", "1e-3")]
    assert [each.value is None for each in metrics] == [False, False, True]
    assert metrics[2].refused == "rests on 1 impostors; at least 10 are needed"
    assert [(each.genuine, each.impostor, each.impostors_above) for each in metrics[:2]] == [
        (100, 1000, 100),
        (100, 1000, 10),
    ]
    assert insightface_tar(np.zeros(3), np.ones(3, np.bool_), (0.1,))[0].refused == "no impostors to reject"
    assert insightface_tar(np.zeros(30), np.zeros(30, np.bool_), (0.1,))[0].refused == "nothing genuine to accept"


@pytest.mark.parametrize("count", [3, 700])
def test_scores_of_listed_pairs_are_their_cosines(count: int) -> None:
    """More templates than one block, with pairs in any order, repeated pairs and templates without pairs."""
    generator = np.random.default_rng(4)
    made = generator.normal(size=(count, 5))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    left, right = generator.integers(0, count, (2, 2000)).astype(np.int32)
    right[right == 1] = 0
    scores = comparison_scores(made, left, right)
    expected = [sum(made[a, axis] * made[b, axis] for axis in range(5)) for a, b in zip(left, right, strict=True)]
    np.testing.assert_allclose(scores, expected, rtol=1e-12, atol=1e-15)
