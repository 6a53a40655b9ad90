"""Log-likelihood ratios: recovered from their distribution, bounded, never decreasing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from fedfr import FedfrError
from fedfr.recognition import Likelihood, fit_likelihood
from fedfr.recognition.calibration.likelihood import cllr


def test_ratio_of_two_normal_distributions_is_recovered() -> None:
    draw = np.random.default_rng(0).standard_normal
    found = fit_likelihood(0.6 + 0.1 * draw(4000), 0.3 + 0.1 * draw(8000))
    # ln N(x; 0.6, 0.1) − ln N(x; 0.3, 0.1) = 30 x − 13.5.
    assert found.slope == pytest.approx(30, rel=0.05)
    assert found.offset == pytest.approx(-13.5, rel=0.05)
    assert (found.lowest, found.highest) == pytest.approx((-math.log(4001), math.log(8001)))


@pytest.mark.parametrize("apart", [0.0, 0.5, 5.0])
def test_parameters_are_those_of_a_general_optimizer(apart: float) -> None:
    draw = np.random.default_rng(1).standard_normal
    same, other = draw(20) + apart, draw(400)
    found = fit_likelihood(same, other)

    def loss(values: np.ndarray) -> float:
        parts = []
        for scores, target in ((same, 21 / 22), (other, 1 / 402)):
            logits = values[0] * scores + values[1]
            parts.append(np.mean(np.logaddexp(0, logits) - target * logits))
        return float(sum(parts))

    best = optimize.minimize(loss, [0.0, 0.0], method="BFGS", tol=1e-10).x
    assert (found.slope, found.offset) == pytest.approx(tuple(best), abs=1e-3)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-1, 1), min_size=1, max_size=20),
    st.lists(st.floats(-1, 1), min_size=1, max_size=20),
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=10),
)
def test_ratios_are_finite_monotone_and_within_what_the_people_support(
    same: list[float], other: list[float], asked: list[float]
) -> None:
    found = fit_likelihood(same, other, people=len(same))
    ratios = [found(score) for score in sorted(asked)]
    assert ratios == sorted(ratios)
    assert -math.log(len(same) + 1) <= ratios[0] <= ratios[-1] <= math.log(len(other) + 1)
    assert Likelihood.from_json(found.to_json()) == found


def test_separated_scores_have_finite_parameters_and_little_cost() -> None:
    found = fit_likelihood([0.9, 0.91, 0.92], [0.1] * 100)
    assert 0 < found.slope < 100
    assert found.cllr < 0.4
    assert fit_likelihood([0.5], [0.5]).cllr == pytest.approx(1)


def test_cost_by_hand() -> None:
    assert cllr([math.log(3)], [math.log(1 / 3)]) == pytest.approx(math.log2(4 / 3))
    assert cllr([-50.0], [50.0]) > 70


@pytest.mark.parametrize(
    ("same", "other"), [([], [0.1]), ([0.1], []), ([float("nan")], [0.1]), ([0.1], [float("inf")])]
)
def test_missing_scores_are_refused(same: list[float], other: list[float]) -> None:
    with pytest.raises(FedfrError, match=r"both are needed|is NaN or infinite"):
        fit_likelihood(same, other)
