"""Exact samples: their distribution, and that floating point decides none of them."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from fedfr.core.errors import FedfrError
from fedfr.privacy.person_dp import RandomWords, discrete_gaussian, exponential_trials

SEED = bytes(range(32))


def probability_of(drawn: np.ndarray, variance: int) -> float:
    """Return the p-value of a chi-square test against the discrete Gaussian, with rare values in one bin each side."""
    width = math.ceil(3.2 * math.sqrt(variance))
    values = np.arange(-20 * width, 20 * width + 1)
    weights = np.exp(-(values**2) / (2 * variance))
    weights /= weights.sum()
    bins = np.clip(values, -width, width) + width
    expected = np.bincount(bins, weights) * len(drawn)
    observed = np.bincount(np.clip(drawn, -width, width) + width, minlength=len(expected))
    return float(stats.chisquare(observed, expected).pvalue)


@pytest.mark.parametrize("variance", [1, 2, 7, 100])
def test_has_the_stated_distribution(variance: int) -> None:
    assert probability_of(discrete_gaussian(60_000, variance, RandomWords(SEED, variance)), variance) > 0.01


def test_the_distribution_test_finds_a_rounded_gaussian() -> None:
    """Rounding adds 1/12 to the variance; a sampler that does it is refused."""
    drawn = np.rint(np.random.Generator(np.random.PCG64(1)).normal(0, 1, 60_000)).astype(np.int64)
    assert probability_of(drawn, 1) < 1e-12


def test_wide_noise_is_gaussian_on_the_scale_of_its_deviation() -> None:
    """At the variances of real sums a step is invisible, so the continuous distribution is the reference."""
    deviation = 2.0**21
    drawn = discrete_gaussian(50_000, 1 << 42, RandomWords(SEED, "wide")) / deviation
    assert stats.kstest(drawn, "norm").pvalue > 0.01
    assert abs(drawn.var() - 1) < 5 * math.sqrt(2 / len(drawn))
    assert 3.5 < np.abs(drawn).max() < 6


@pytest.mark.parametrize("variance", [3, 1 << 40])
def test_floating_point_decides_nothing(variance: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every trial decided by exact arithmetic gives the same numbers."""
    fast = discrete_gaussian(300, variance, RandomWords(SEED, "exact"))
    decided = 0
    decide = exponential_trials._decide

    def counted(prefix: int, exponent: Fraction, more: RandomWords) -> bool:
        nonlocal decided
        decided += 1
        return decide(prefix, exponent, more)

    monkeypatch.setattr(exponential_trials, "_MARGIN", 1.0)
    monkeypatch.setattr(exponential_trials, "_decide", counted)
    assert (discrete_gaussian(300, variance, RandomWords(SEED, "exact")) == fast).all()
    assert decided > 1000


def test_bounds_of_the_exponential_enclose_it() -> None:
    for exponent in (Fraction(1), Fraction(1, 3), Fraction(10**12 + 1, 10**10), Fraction(1, 1 << 60)):
        low, high = exponential_trials._exponential(exponent, 40)
        closer_low, closer_high = exponential_trials._exponential(exponent, 80)
        assert low < closer_low < closer_high < high
        assert high - low < low * (exponent + 4) * Fraction(1, 10**38)
        assert float(low) == pytest.approx(math.exp(-exponent), rel=1e-14)


def test_sure_and_hopeless_trials() -> None:
    exponents = np.array([0.0] * 1000 + [800.0] * 1000)
    outcome = exponential_trials.exponential_trials(
        exponents, lambda i: Fraction(int(exponents[i])), RandomWords(SEED, "ends")
    )
    assert outcome.tolist() == [True] * 1000 + [False] * 1000


def test_is_drawn_again_from_its_seed_only() -> None:
    first = discrete_gaussian(100_000, 1 << 40, RandomWords(SEED, "a"))
    assert (discrete_gaussian(100_000, 1 << 40, RandomWords(SEED, "a")) == first).all()
    others = [RandomWords(SEED, "b"), RandomWords(SEED, b"a"), RandomWords(bytes(32), "a"), RandomWords(SEED, "a", "")]
    for other in others:
        assert abs(np.corrcoef(first, discrete_gaussian(100_000, 1 << 40, other))[0, 1]) < 0.02


def test_parts_of_a_purpose_do_not_run_together() -> None:
    streams = [
        RandomWords(SEED, *purpose).take(2).tobytes() for purpose in (("ab", "c"), ("a", "bc"), ("abc",), (1,), ("1",))
    ]
    assert len({*streams}) == len(streams)


def test_numbers_below_a_bound_are_uniform() -> None:
    drawn = RandomWords(SEED, "below").below(7, 70_000)
    assert stats.chisquare(np.bincount(drawn, minlength=7)).pvalue > 0.01
    assert RandomWords(SEED, "below").below(1 << 40, 1000).max() > 1 << 39


@pytest.mark.parametrize("variance", [0, -1, (1 << 52) + 1])
def test_refuses_a_variance_without_exact_arithmetic(variance: int) -> None:
    with pytest.raises(FedfrError, match=re.escape(f"the variance of the noise is {variance}; it must be from 1 to")):
        discrete_gaussian(1, variance, RandomWords(SEED))
