"""Thresholds that a number of strangers proves: hand values, the binomial definition, and the promise by simulation."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedfr import FedfrError
from fedfr.recognition import Threshold, provable_rate, strangers_needed, threshold_for
from fedfr.recognition.calibration.provable_rates import exact_interval, rank_for, upper_bound


# Wilks's table of tolerance limits: 59 for 5 %, 299 for 1 %; ln 20 = 2.9957 for small rates.
@pytest.mark.parametrize(("rate", "needed"), [(0.05, 59), (0.01, 299), (0.001, 2995), (1e-4, 29956), (0.95, 1)])
def test_so_many_strangers_prove_a_rate_and_one_less_does_not(rate: float, needed: int) -> None:
    assert strangers_needed(rate) == needed
    assert (rank_for(needed, rate), rank_for(needed - 1, rate)) == (1, 0)
    assert provable_rate(needed) <= rate
    if needed > 1:
        assert provable_rate(needed - 1) > rate


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20_000), st.floats(1e-4, 0.9), st.sampled_from([0.9, 0.95, 0.99]))
def test_rank_is_the_largest_that_the_binomial_distribution_allows(strangers: int, rate: float, sure: float) -> None:
    rank = rank_for(strangers, rate, sure)
    if rank:
        assert stats.binom.cdf(rank - 1, strangers, rate) <= (1 - sure) * (1 + 1e-9)
    if rank < strangers:
        assert stats.binom.cdf(rank, strangers, rate) > (1 - sure) * (1 - 1e-9)
    assert (rank == 0) == (strangers < strangers_needed(rate, sure))


@pytest.mark.parametrize(("passing", "strangers"), [(0, 1), (0, 299), (3, 1000), (999, 1000), (1000, 1000)])
def test_bounds_are_those_of_clopper_and_pearson(passing: int, strangers: int) -> None:
    exact = stats.binomtest(passing, strangers, alternative="less").proportion_ci(0.95, "exact")
    assert upper_bound(passing, strangers) == pytest.approx(exact.high)
    both = stats.binomtest(passing, strangers).proportion_ci(0.95, "exact")
    assert exact_interval(passing, strangers) == pytest.approx((both.low, both.high))


@settings(max_examples=100, deadline=None)
@given(st.integers(300, 900), st.integers(1, 40), st.sampled_from([0.01, 0.05, 0.3]), st.integers(0, 99))
def test_threshold_keeps_its_promise_in_the_sample_with_and_without_ties(
    strangers: int, levels: int, rate: float, seed: int
) -> None:
    scores = np.random.default_rng(seed).integers(0, levels, strangers) / 10
    found = threshold_for(scores, rate)
    assert found.passing == (scores > found.value).sum() < rank_for(strangers, rate)
    assert found.upper95 == upper_bound(rank_for(strangers, rate) - 1, strangers) <= rate
    assert np.sort(scores)[-rank_for(strangers, rate)] <= found.value
    assert found.estimate <= rate
    assert Threshold.from_json(found.to_json()) == found


def test_computed_again_with_other_rounding_no_stranger_passes_who_did_not() -> None:
    scores = np.sort(np.random.default_rng(0).normal(0.2, 0.1, 1000))
    found = threshold_for(scores, 0.01)
    rank = rank_for(1000, 0.01)
    assert found.value - 2e-5 < scores[-rank] < found.value - 4e-6
    assert found.passing == rank - 1


@pytest.mark.parametrize("ties", [False, True])
def test_promise_holds_in_95_percent_of_repetitions(ties: bool) -> None:
    generator = np.random.default_rng(int(ties))
    rate, broken = 0.02, 0
    for _ in range(2000):
        scores = generator.random(400)
        value = threshold_for(np.round(scores, 2) if ties else scores, rate).value
        # Scores rounded to a hundredth: half a hundredth above the last value below is accepted.
        broken += (1 - (np.floor(value * 100) / 100 + 0.005) if ties else 1 - value) > rate
    # P(Bin(400, 0.02) ≤ k − 1) for the k of this number is the exact share; 2 000 repetitions scatter by 0.5 points.
    exact = stats.binom.cdf(rank_for(400, rate) - 1, 400, rate)
    assert exact <= 0.05
    assert broken / 2000 < exact + 3 * np.sqrt(exact * (1 - exact) / 2000)


def test_too_few_strangers_are_refused_with_the_best_rate_that_they_prove() -> None:
    with pytest.raises(FedfrError, match=r"found 120 strangers; the rate 0.01 with 95 % confidence needs 299") as error:
        threshold_for(np.zeros(120), 0.01)
    (named,) = re.findall(r"the best rate they prove is (\S+):", str(error.value))
    assert 0.024 < float(named) < 0.025
    assert threshold_for(np.zeros(120), float(named)).passing == 0
    with pytest.raises(FedfrError, match=r"found 0 strangers; .* needs 299, and none can be proven"):
        threshold_for([], 0.01)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 100_000), st.sampled_from([0.9, 0.95, 0.999]))
def test_the_named_rate_can_be_asked_for(strangers: int, sure: float) -> None:
    with pytest.raises(FedfrError) as error:
        threshold_for(np.zeros(strangers), provable_rate(strangers, sure) * 0.9, sure)
    (named,) = re.findall(r"the best rate they prove is (\S+):", str(error.value))
    assert rank_for(strangers, float(named), sure) >= 1
    assert float(named) <= 1.02 * provable_rate(strangers, sure)


@pytest.mark.parametrize(
    "bad", [[0.1, float("nan")], [0.1, float("inf")], [[0.1], [0.2]], ["a"], [[1], [1, 2]], [True]]
)
def test_scores_that_are_none_are_refused(bad: object) -> None:
    with pytest.raises(FedfrError, match="strangers' scores"):
        threshold_for(bad, 0.9)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, float("nan"), float("inf"), 1e-300, "0.01", None])
def test_rates_and_confidences_outside_their_range_are_refused(rate: float) -> None:
    with pytest.raises(FedfrError, match=r"fpir = .*; allowed are rates from 1e-09 to below 1"):
        threshold_for(np.zeros(500), rate)
    with pytest.raises(FedfrError, match=r"confidence = .*; allowed are shares above 0 and below 1"):
        threshold_for(np.zeros(500), 0.01, 1.0 if rate == 1e-300 else rate)
    with pytest.raises(FedfrError, match="at least one stranger"):
        provable_rate(0)
