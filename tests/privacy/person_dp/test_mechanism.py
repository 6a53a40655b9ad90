"""The mechanism: no wrapping, the noise multiplier asked for, and the proof's bound checked by exact enumeration."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from scipy.special import log_ndtr

from fedfr.core.errors import FedfrError
from fedfr.privacy.person_dp import Mechanism, choose_mechanism, mean_change


def gaussian_delta(epsilon: float, multiplier: float) -> float:
    """Return δ(ε) of the Gaussian mechanism (Balle, Wang 2018, theorem 8)."""
    half, slope = 1 / (2 * multiplier), epsilon * multiplier
    return float(np.exp(log_ndtr(half - slope)) - np.exp(epsilon + log_ndtr(-half - slope)))


def noise_of_sites(variance: int, sites: int) -> np.ndarray:
    """Return the probabilities of the sum of ``sites`` discrete Gaussians, by convolution."""
    values = np.arange(-40 * math.isqrt(variance), 40 * math.isqrt(variance) + 1)
    one = np.exp(-(values**2) / (2 * variance))
    one /= one.sum()
    total = one
    for _ in range(sites - 1):
        total = np.convolve(total, one)
    return total


@pytest.mark.parametrize(("variance", "sites", "steps"), [(32, 1, 5), (32, 3, 11), (50, 2, 3), (200, 4, 40)])
def test_is_as_private_as_its_gaussian_mechanism(variance: int, sites: int, steps: int) -> None:
    """δ(ε) of the sum of the sites' noise, by enumeration, for every shift that one value can make."""
    mechanism = Mechanism(1, 1.0, steps, variance, sites)
    noise = noise_of_sites(variance, sites)
    padded = np.pad(noise, steps)
    for epsilon in (0.0, 0.1, 0.5, 1.0, 2.0, 4.0):
        deltas = [
            np.maximum(padded - math.exp(epsilon) * np.roll(padded, shift), 0).sum() for shift in range(1, steps + 1)
        ]
        assert max(deltas) <= gaussian_delta(epsilon, mechanism.noise_multiplier) + 1e-12


@pytest.mark.parametrize("shift", [(3, 4), (5, 0), (4, -3), (1, 1)])
def test_is_as_private_in_two_dimensions(shift: tuple[int, int]) -> None:
    one = noise_of_sites(32, 2)
    noise = np.pad(np.outer(one, one), 5)
    moved = np.roll(noise, shift, (0, 1))
    for epsilon in (0.0, 0.3, 1.0, 2.5):
        delta = np.maximum(noise - math.exp(epsilon) * moved, 0).sum()
        assert delta <= gaussian_delta(epsilon, Mechanism(2, 1.0, 5, 32, 2).noise_multiplier) + 1e-12


CHOICES: list[dict[str, Any]] = [
    {"values": 1_000_000, "noise_multiplier": 1.35, "honest": 27, "sites": 40, "people": 4000},
    {"values": 512 * 512, "noise_multiplier": 4.84, "honest": 1, "sites": 40, "people": 4000},
    {"values": 50_000_000, "noise_multiplier": 2.69, "honest": 40, "sites": 40, "people": 4000},
    {"values": 10, "noise_multiplier": 0.01, "honest": 2, "sites": 3, "people": 3},
    {"values": 1000, "noise_multiplier": 500.0, "honest": 1, "sites": 3, "people": 3},
]


@pytest.mark.parametrize("choice", CHOICES)
def test_no_sum_wraps_and_the_noise_is_not_below_what_was_asked(choice: dict[str, Any]) -> None:
    mechanism = choose_mechanism(clip=0.7, **choice)
    assert 1 <= mechanism.noise_multiplier / choice["noise_multiplier"] < 1 + 1e-4
    noise = math.sqrt(choice["sites"] * mechanism.site_variance)
    assert (
        choice["people"] * mechanism.steps + 13 * noise < mechanism.largest_sum(choice["sites"], choice["people"]) + 2
    )
    assert mechanism.largest_sum(choice["sites"], choice["people"]) < 2**31
    assert mechanism.rounding_error < 0.01 * mechanism.steps


def test_a_sum_decodes_to_the_mean() -> None:
    mechanism = Mechanism(4, 2.0, 1000, 64, 1)
    total = np.array([5, -7, 2**31 - 1, -(2**31)], np.int64).astype(np.uint32)
    expected = np.array([5, -7, 2**31 - 1, -(2**31)]) * 2.0 / 1000 / 8
    assert mean_change(total, mechanism, 8) == pytest.approx(expected)
    with pytest.raises(FedfrError, match="a noised sum of 4 values"):
        mean_change(total[:3], mechanism, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clip": math.nan}, "the largest norm of a person's change is nan; give a number above 0"),
        ({"clip": 0.0}, "the largest norm of a person's change is 0.0"),
        ({"site_variance": 31}, "the noise of a site has variance 31; 32 to"),
        ({"steps": 50}, "is 50 units; for 10000 values it must be above 50"),
        ({"steps": 2**24 + 1}, "at most 16777216"),
        ({"honest": 0}, "with 0 honest sites; give at least 1 of each"),
    ],
)
def test_refuses_what_is_not_possible(change: dict[str, Any], message: str) -> None:
    with pytest.raises(FedfrError, match=re.escape(message)):
        Mechanism(**({"values": 10_000, "clip": 1.0, "steps": 1 << 19, "site_variance": 1 << 38, "honest": 2} | change))


def test_sums_that_could_wrap_are_refused_with_the_numbers() -> None:
    mechanism = choose_mechanism(clip=1.0, **CHOICES[0])
    with pytest.raises(FedfrError, match=r"a sum over 8000 persons at 40 sites can reach \d{10} units, and 2147483647"):
        mechanism.largest_sum(40, 8000)
    with pytest.raises(FedfrError, match=r"only with at most 214 units .* rounding 1000000 values moves .* 500 units"):
        choose_mechanism(clip=1.0, **(CHOICES[0] | {"people": 10_000_000}))
