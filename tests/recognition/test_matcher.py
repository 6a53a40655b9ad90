"""Search in memory against all scores computed one by one."""

from __future__ import annotations

import numpy as np
import pytest

from fedfr.core.errors import FedfrError
from fedfr.evaluation.score_normalization import cohort_statistics
from fedfr.evaluation.unit_features import normalize
from fedfr.recognition import matcher as module
from fedfr.recognition.matcher import Match, Matcher


def drawn(rows: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


@pytest.mark.parametrize("enrolled", [1, 2, 7])
def test_the_best_and_the_second_are_those_of_all_scores(enrolled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the probes are searched in several blocks."""
    monkeypatch.setattr(module, "BLOCK", 3 * enrolled)
    templates, probes = drawn(enrolled), drawn(11, seed=1)
    for probe, match in zip(probes, Matcher(templates).search(probes), strict=True):
        cosines = [float(t @ probe / np.linalg.norm(t) / np.linalg.norm(probe)) for t in templates]
        order = sorted(range(enrolled), key=lambda row: -cosines[row])
        assert match.row == order[0]
        assert match.score == pytest.approx(cosines[order[0]], abs=1e-6)
        if enrolled == 1:
            assert (match.second, match.second_score, match.margin) == (None, None, None)
        else:
            assert match.second == order[1]
            assert match.margin == pytest.approx(cosines[order[0]] - cosines[order[1]], abs=1e-6)


def test_scores_are_normalized_with_a_cohort() -> None:
    templates, probes, cohort = drawn(5), drawn(4, seed=1), drawn(30, seed=2)
    expected = normalize(probes) @ normalize(templates).T
    cohort_statistics(normalize(probes), cohort).apply(cohort_statistics(normalize(templates), cohort), expected)
    matcher = Matcher(templates, cohort)
    np.testing.assert_allclose(matcher.scores(probes), expected, atol=1e-5)
    assert matcher.score(3, probes[1]) == pytest.approx(expected[1, 3], abs=1e-5)


def test_an_empty_gallery_has_no_match() -> None:
    assert Matcher(np.empty((0, 8), np.float32)).search(drawn(3)) == []
    assert Matcher(np.empty((0, 8), np.float32), drawn(9)).search(drawn(3)) == []


def test_of_equal_templates_the_first_is_the_best() -> None:
    (match,) = Matcher([[1, 0], [1, 0]]).search([[2, 0]])
    assert match == Match(0, 1.0, 1, 1.0)
    assert match.margin == 0


@pytest.mark.parametrize("probe", [[[np.nan, 0]], [[np.inf, 0]], [[1, 0, 0]]])
def test_invalid_probes_are_refused(probe: list[list[float]]) -> None:
    with pytest.raises(FedfrError):
        Matcher([[1, 0]]).search(probe)
