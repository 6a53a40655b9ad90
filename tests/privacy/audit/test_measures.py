"""Measures of an inference: AUC by hand, intervals over people that stay honest with few, and shuffled truth."""

from __future__ import annotations

import numpy as np
import pytest

from fedfr.privacy.audit.measures import FEWEST_PEOPLE, Guesses, auc, measure, score_interval

DRAWN = np.random.default_rng(0)


def guesses(scores: np.ndarray, truth: np.ndarray) -> Guesses:
    return Guesses(scores, truth, np.ones(scores.shape, np.bool_))


def leaking(people: int, shift: float) -> Guesses:
    truth = np.arange(people) < people // 2
    return guesses(DRAWN.normal(size=(1, people)) + shift * truth, truth[None])


def test_the_auc_counts_pairs() -> None:
    scores = DRAWN.integers(0, 5, 60).astype(float)
    truth = DRAWN.integers(0, 2, 60).astype(bool)
    pairs = [(one > other) + (one == other) / 2 for one in scores[truth] for other in scores[~truth]]
    assert auc(scores, truth) == pytest.approx(np.mean(pairs))


def test_a_leak_is_found_and_shuffled_truth_is_not() -> None:
    found = measure(leaking(200, 3.0), 0)
    assert found is not None
    assert found.auc > 0.95
    assert found.low is not None
    assert 0.9 < found.low < found.auc
    assert found.shuffled == pytest.approx(0.5, abs=0.02)
    assert found.shuffled_high < 0.6
    nothing = measure(leaking(200, 0.0), 0)
    assert nothing is not None
    assert nothing.low is not None
    assert nothing.high is not None
    assert nothing.low < 0.5 < nothing.high


def test_an_interval_has_a_width_even_if_all_scores_are_in_order() -> None:
    found = measure(leaking(10, 100.0), 0)
    assert found is not None
    assert (found.auc, found.high) == (1.0, 1.0)
    assert found.low is not None
    assert found.low == pytest.approx(score_interval(1.0, 5, 5)[0])
    assert found.low < 0.7


def test_too_few_people_have_no_interval() -> None:
    found = measure(leaking(2 * FEWEST_PEOPLE - 2, 100.0), 0)
    assert found is not None
    assert (found.low, found.high) == (None, None)
    truth = np.ones((1, 5), np.bool_)
    assert measure(guesses(DRAWN.normal(size=(1, 5)), truth), 0) is None


def test_more_rows_of_the_same_people_do_not_narrow_the_interval() -> None:
    once = leaking(30, 1.0)
    often = guesses(np.repeat(once.scores, 50, axis=0), np.repeat(once.truth, 50, axis=0))
    widths = []
    for each in (once, often):
        found = measure(each, 0)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        widths.append(found.high - found.low)
    assert widths[0] == pytest.approx(widths[1], abs=1e-9)


def test_the_score_interval_covers() -> None:
    """Of 2 × 10 normal scores, 400 times; nominal 95 %."""
    true = 0.76025  # of a shift of one standard deviation: Φ(1 / √2)
    inside = 0
    for _ in range(400):
        scores, truth = DRAWN.normal(size=20), np.arange(20) < 10
        low, high = score_interval(auc(scores + truth, truth), 10, 10)
        inside += low <= true <= high
    assert inside >= 370
