"""Intervals over deals: reference values, and their coverage on simulated benchmarks."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fedfr.evaluation import verify
from fedfr.evaluation.person_outcomes import verification_outcomes
from fedfr.results.intervals import Estimate, estimate, holm


def test_disjoint_deals_have_the_t_interval() -> None:
    deals = [0.02, 0.05, 0.03, 0.08]
    expected = stats.t.interval(0.95, 3, np.mean(deals), stats.sem(deals))
    assert estimate(deals).interval() == pytest.approx(expected)
    assert estimate(deals).p_value == pytest.approx(stats.ttest_1samp(deals, 0).pvalue)


@pytest.mark.parametrize("deals", [[0.1], [0.1, 0.1], [0.1, 0.3]])
def test_fewer_than_three_deals_have_no_interval(deals: list[float]) -> None:
    found = estimate(deals)
    assert found.mean == pytest.approx(fmean(deals))
    assert (found.interval(), found.p_value, found.equivalent(1.0)) == (None, None, False)


def test_shared_people_widen_the_interval() -> None:
    deals = [0.02, 0.05, 0.03]
    same = {person: (-1) ** person * 0.01 for person in range(40)}
    shared = estimate(deals, [same] * 3)
    assert shared.error**2 == pytest.approx(stats.sem(deals) ** 2 + 40 * 0.0001 * 40 / 39)
    assert shared.freedom > 2
    nobody = [{person + 100 * deal: 0.01 for person in range(40)} for deal in range(3)]
    assert estimate(deals, nobody) == estimate(deals)


def test_equal_values_have_no_difference() -> None:
    assert estimate([0.0, 0.0, 0.0]).p_value == 1.0
    assert estimate([0.1, 0.1, 0.1]).p_value == 0.0
    assert estimate([0.1, 0.1, 0.1]).interval() == pytest.approx((0.1, 0.1))


def test_equivalence_needs_the_whole_interval_within_the_margin() -> None:
    found = Estimate(0.004, 0.002, 4, 5)
    reach = float(stats.t.ppf(0.95, 4)) * 0.002
    assert found.equivalent(0.004 + reach + 1e-9)
    assert not found.equivalent(0.004 + reach - 1e-9)


def test_holm_against_the_definition() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("deals", [3, 5, 8])
@pytest.mark.parametrize(("between", "skewed"), [(0.0, False), (0.02, False), (0.02, True)])
@pytest.mark.parametrize("shared", [False, True])
def test_coverage_of_a_sum_of_effects(deals: int, between: float, skewed: bool, shared: bool) -> None:
    """Effects of deals and of 30 people, as large as those of the kept benchmarks: 1 to 2 points each."""
    generator, people, covered, repeats = np.random.default_rng(3), 30, 0, 2000
    for _ in range(repeats):
        drawn = generator.gamma(2, size=deals) / 2 - 1 if skewed else generator.normal(size=deals)
        effects = generator.normal(0, 0.1 / people**0.5, (1 if shared else deals, people)) / people**0.5
        inside = np.broadcast_to(effects, (deals, people))
        influence = inside - inside.mean(axis=1, keepdims=True)
        values = between * drawn + inside.sum(axis=1)
        given = [dict(enumerate(row)) for row in influence.tolist()] if shared else ()
        low, high = estimate(values.tolist(), given).interval() or (1.0, -1.0)
        covered += low <= 0 <= high
    assert covered / repeats >= 0.93


PEOPLE, IMAGES, DIM = 40, 4, 12


def difference(
    generator: np.random.Generator, centres: NDArray[np.float64], images: NDArray[np.float64], effect: float
) -> tuple[float, dict[int, float]]:
    """One deal: two models on the same test images, the second a little better, each with an effect of its training."""
    labels = np.repeat(np.arange(PEOPLE), IMAGES)
    values, influences = [], []
    for noise in np.asarray([0.9, 0.84]) + generator.normal(0, effect, 2):
        features = centres[labels] + noise * images + 0.3 * generator.normal(size=images.shape)
        metrics = verify(features, labels, [0.02])
        (outcomes,) = verification_outcomes(features, labels, np.ones(len(labels), np.bool_), metrics, [0.02])
        values.append(outcomes.value)
        influences.append(outcomes.influence())
    return values[1] - values[0], dict(enumerate((influences[1] - influences[0]).tolist()))


@pytest.mark.slow
@pytest.mark.parametrize(("deals", "effect", "shared"), [(3, 0.03, False), (5, 0.0, True)])
def test_coverage_of_evaluated_features(deals: int, effect: float, shared: bool) -> None:
    """Features of simulated people through the evaluation: thresholds, pairs and influences as in a benchmark."""
    generator = np.random.default_rng(7)
    found = []
    for _ in range(300):
        drawn = []
        for deal in range(deals):
            if deal == 0 or not shared:
                centres, images = generator.normal(size=(PEOPLE, DIM)), generator.normal(size=(PEOPLE * IMAGES, DIM))
            drawn.append(difference(generator, centres, images, effect))
        values, people = zip(*drawn, strict=True)
        found.append(estimate(values, people if shared else ()))
    true = fmean(each.mean for each in found)
    covered = fmean(low <= true <= high for low, high in filter(None, (each.interval() for each in found)))
    assert covered >= 0.93
