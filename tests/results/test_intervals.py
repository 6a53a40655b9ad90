"""Intervals over deals: reference values, and their coverage on simulated benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fedfr.evaluation import verify
from fedfr.evaluation.person_outcomes import verification_outcomes
from fedfr.results.comparison import Difference, compare
from fedfr.results.intervals import FEWEST_PEOPLE, Estimate, estimate, holm
from fedfr.results.metric_groups import Deals, metric_groups
from fedfr.results.person_effects import outcomes_by_deal
from fedfr.results.person_records import PersonRecord
from fedfr.results.result_rows import Row


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
    nobody = [{person + 100 * deal: 0.0001 for person in range(40)} for deal in range(3)]
    assert estimate(deals, nobody) == estimate(deals)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_equal_values_have_no_interval(value: float) -> None:
    """Deals that all agree do not show how much the next one differs: neither a difference nor equality is settled."""
    influence = {person: (-1) ** person * 0.01 for person in range(40)}
    for found in (estimate([value] * 3), estimate([value] * 3, [influence] * 3)):
        assert found.mean == pytest.approx(value)
        assert (found.interval(), found.p_value, found.above(-1.0), found.equivalence_p(0.01)) == (None,) * 4


def test_the_error_is_at_least_that_of_drawing_other_people() -> None:
    people = [{person + 100 * deal: (-1) ** person * 0.01 for person in range(40)} for deal in range(4)]
    found = estimate([0.020, 0.021, 0.019, 0.020], people)
    assert found.error**2 == pytest.approx(40 * 0.0001 * 40 / 39 / 4)
    assert found.freedom == pytest.approx(3), "the deals are what is known to be replicated"
    wide = [0.0, 0.5, 0.2, 0.9]
    assert estimate(wide, people).interval() == pytest.approx(estimate(wide).interval())


def test_few_people_with_different_outcomes_have_no_interval() -> None:
    deals = [0.02, 0.05, 0.03]
    assert estimate(deals, differing=FEWEST_PEOPLE) == estimate(deals)
    assert not estimate(deals, differing=FEWEST_PEOPLE - 1).has_interval


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
@pytest.mark.parametrize(("between", "skewed"), [(0.001, False), (0.02, False), (0.02, True)])
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


@dataclass(frozen=True)
class Regime:
    """Deals near saturation: clients of some people each, and the share of genuine pairs that two models reject.

    ``shape`` is that of the gamma distribution of people's difficulty: at 0.1 a tenth of the people make 70 % of the
    errors. ``training`` is the relative deviation of a model's errors between deals.
    """

    errors: tuple[float, float]
    clients: int = 4
    people: int = 10
    images: tuple[int, int] = (2, 12)
    shape: float = 0.1
    training: float = 0.0

    def draw(
        self, generator: np.random.Generator, deals: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Return difference (D,), influence (D, P) and whether people differ (D, P).

        TAR weights people by their pairs, most of which few people have (as in LFW). A bad image fails in all pairs.
        """
        size = (deals, self.clients, self.people)
        least, most = self.images
        images = np.minimum(most, (least * generator.random(size) ** (-1 / 1.4)).astype(np.int64))
        pairs = images * (images - 1) // 2
        difficulty = generator.gamma(self.shape, 1 / self.shape, size)
        values, influences, rejected = [], [], []
        for error in self.errors:
            varied = error * difficulty * np.exp(generator.normal(0, self.training, (deals, 1, 1)))
            good = generator.binomial(images, np.sqrt(1 - np.minimum(varied, 0.95)))
            rejected.append(pairs - good * (good - 1) // 2)
            rate = rejected[-1].sum(2, keepdims=True) / pairs.sum(2, keepdims=True)
            values.append(1 - rate.mean((1, 2)))
            influences.append((rate * pairs - rejected[-1]) / pairs.sum(2, keepdims=True) / self.clients)
        differ = (rejected[0] != rejected[1]).reshape(deals, -1)
        return values[0] - values[1], (influences[0] - influences[1]).reshape(deals, -1), differ


LFW, PINS = Regime((0.003, 0.008)), Regime((0.003, 0.008), clients=2, people=7, images=(26, 40))
SATURATED = {
    "lfw, 0.05 and 0.1 %": replace(LFW, errors=(0.0005, 0.001)),
    "lfw, 0.3 and 0.8 %": LFW,
    "lfw, 0.3 and 0.8 %, spread": replace(LFW, shape=1.0),
    "lfw, 1 and 2.5 %": replace(LFW, errors=(0.01, 0.025)),
    "lfw, 2 and 2 %": replace(LFW, errors=(0.02, 0.02)),
    "lfw, 5 and 10 %, training": replace(LFW, errors=(0.05, 0.1), training=0.3),
    "lfw, 5 and 10 %, rare": replace(LFW, errors=(0.05, 0.1), shape=0.02),
    "pins, 0.3 and 0.8 %": PINS,
    "pins, 1 and 2.5 %": replace(PINS, errors=(0.01, 0.025)),
    "pins, 5 and 10 %, training": replace(PINS, errors=(0.05, 0.1), training=0.3),
    "generic, 0.3 and 0.8 %": replace(LFW, clients=1, people=120, images=(2, 4)),
}


def coverage(regime: Regime, deals: int, repeats: int) -> tuple[float, float, float]:
    """Return the coverage of the printed intervals, the share that is printed, and the coverage of the t interval."""
    generator = np.random.default_rng(11)
    true = fmean(regime.draw(generator, 20_000)[0])
    values, influence, differ = regime.draw(generator, repeats * deals)
    printed, covered, plain = 0, 0, 0
    for first in range(0, repeats * deals, deals):
        each = slice(first, first + deals)
        drawn = values[each].tolist()
        low, high = estimate(drawn).interval() or (0.0, 0.0)
        plain += low <= true <= high
        people = [{deal * 1000 + p: v for p, v in enumerate(row)} for deal, row in enumerate(influence[each].tolist())]
        ends = estimate(drawn, people, int(differ[each].sum())).interval()
        printed += ends is not None
        covered += ends is not None and ends[0] <= true <= ends[1]
    return covered / max(printed, 1), printed / repeats, plain / repeats


@pytest.mark.parametrize("deals", [3, 5])
@pytest.mark.parametrize("regime", SATURATED.values(), ids=SATURATED)
def test_coverage_near_saturation(regime: Regime, deals: int) -> None:
    """At least 93 % of the intervals that exist cover the difference; docs/benchmarks.md has the measured coverage."""
    covered, printed, _ = coverage(regime, deals, 1000)
    assert covered >= 0.93 or printed == 0


@pytest.mark.parametrize("deals", [3, 5])
@pytest.mark.parametrize("regime", [LFW, PINS, replace(LFW, clients=1, people=120, images=(2, 4))])
def test_coverage_without_outcomes_by_person(regime: Regime, deals: int) -> None:
    """Where people are not known, metrics between 10 and 90 % have an interval (``SATURATED``), that of t alone."""
    assert coverage(replace(regime, errors=(0.12, 0.17), shape=0.2), deals, 1000)[2] >= 0.93


PEOPLE, IMAGES, DIM, FAR = 40, 4, 12, 1.2e-3
"""14.98 of 12,480 impostor pairs are above the threshold at this rate, few as in the benchmarks' strictest metrics."""
ONE, OTHER = ("one", "generic"), ("other", "generic")
Deal = tuple[list[Row], list[PersonRecord]]


def evaluated(generator: np.random.Generator, seed: int, faces: tuple[NDArray[np.float64], ...], effect: float) -> Deal:
    """One deal of two models, the first a little better, each with an effect of its training: rows and outcomes.

    Features of the deal's faces (centres of the people, and images) go through the evaluation of a benchmark.
    """
    centres, images = faces
    labels, rows, records = np.repeat(np.arange(PEOPLE), IMAGES), [], []
    for (method, model), noise in ((ONE, 0.6), (OTHER, 0.63)):
        varied = (noise + generator.normal(0, effect)) * images + 0.15 * generator.normal(size=images.shape)
        features = centres[labels] + varied
        (measured,) = metrics = verify(features, labels, [FAR])
        (outcomes,) = verification_outcomes(features, labels, np.ones(len(labels), np.bool_), metrics, [FAR])
        assert 10 <= measured.impostors_above <= 20
        rows.append(Row(method, seed, 1, "", model, "generic-1:1", measured.name, measured.value, 0, 0))
        records.append(PersonRecord(method, seed, "", model, "generic-1:1", measured.name, outcomes))
    return rows, records


def faces(generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return generator.normal(size=(PEOPLE, DIM)), generator.normal(size=(PEOPLE * IMAGES, DIM))


@pytest.fixture(scope="module")
def disjoint() -> list[Deal]:
    """Deals of different people; ``seed`` numbers them."""
    generator = np.random.default_rng(7)
    return [evaluated(generator, seed, faces(generator), 0.02) for seed in range(480)]


def compared(deals: Sequence[Deal], *, apart: bool) -> Difference:
    """Return the difference of both models as tables compute it; ``apart``: no person is in two of the deals."""
    rows = [row for own, _ in deals for row in own]
    records = [record for _, own in deals for record in own]
    if apart:
        records = [
            replace(each, outcomes=replace(each.outcomes, people=each.outcomes.people + 1000 * each.seed))
            for each in records
        ]
    (group,) = metric_groups(rows, Deals(outcomes=outcomes_by_deal(records)))
    found = compare(group, ONE, OTHER)
    assert found is not None
    return found


def share_covered(found: Sequence[Difference]) -> float:
    """Return the coverage of the intervals that exist, which are nearly all."""
    true = fmean(each.mean for each in found)
    ends = [(each.low, each.high) for each in found if each.low is not None and each.high is not None]
    assert len(ends) > 0.9 * len(found)
    return fmean(low <= true <= high for low, high in ends)


@pytest.mark.slow
@pytest.mark.parametrize("deals", [3, 5])
def test_coverage_of_differences_in_tables(disjoint: list[Deal], deals: int) -> None:
    """Features through thresholds, pairs, outcomes by person and comparison, at 15 impostors above the threshold."""
    starts = range(0, len(disjoint), deals)
    assert share_covered([compared(disjoint[start : start + deals], apart=True) for start in starts]) >= 0.93


@pytest.mark.slow
def test_coverage_of_differences_on_the_same_people() -> None:
    """Five deals that are tested on the same people, and vary by their images' noise alone."""
    generator, found = np.random.default_rng(7), []
    for _ in range(80):
        same = faces(generator)
        found.append(compared([evaluated(generator, seed, same, 0.0) for seed in range(5)], apart=False))
    assert share_covered(found) >= 0.93
