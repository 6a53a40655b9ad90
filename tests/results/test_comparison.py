"""Summaries and paired differences of models, computed by hand."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from scipy import stats

from fedfr.results.comparison import MARGIN, Comparison, Difference, compare, corrected
from fedfr.results.intervals import estimate, holm
from fedfr.results.metric_groups import Deals, better_model, covers, metric_groups, shared_metrics, summaries
from fedfr.results.person_effects import Outcomes
from fedfr.results.result_rows import Row

A, B = ("a", "generic"), ("b", "generic")


def rows(method: str, values: dict[tuple[int, str], float | None], metric: str = "m") -> list[Row]:
    return [
        Row(method, seed, 1, client, "generic", "p", metric, value, 20, 20, "" if value is not None else "few")
        for (seed, client), value in values.items()
    ]


def test_summaries_by_hand() -> None:
    (group,) = metric_groups(rows("a", {(0, "x"): 0.2, (0, "y"): 0.4, (1, "x"): 0.5, (1, "y"): None}))
    summary = summaries(group)[A]
    assert summary.mean == pytest.approx(0.4)
    assert (summary.worst, summary.seeds) == (0.2, 2)
    assert summary.deviation == pytest.approx(0.2 / 2**0.5)


def test_shared_metrics_are_those_without_a_gap_strictest_first() -> None:
    """A client with all metrics refused leaves no gap, one with some refused does."""
    lax, strict, released = "TAR@FAR=1e-1", "TAR@FAR=1e-3", "TPIR(released)@FPIR=1e-3"
    given = [
        *rows("a", {(0, "x"): 0.9, (0, "y"): 0.8}, lax),
        *rows("a", {(0, "x"): 0.5, (0, "y"): 0.4}, strict),
        *rows("a", {(0, "x"): 0.5, (0, "y"): 0.4}, released),
        *rows("a", {(0, "x"): 0.5, (0, "y"): 0.4}, "rank-1"),
        *rows("b", {(0, "x"): 0.9, (0, "y"): None}, lax),
        *rows("b", {(0, "x"): 0.5, (0, "y"): None}, strict),
    ]
    assert shared_metrics(given, "p") == [strict, lax]
    assert shared_metrics([*given, *rows("b", {(0, "y"): 0.7}, lax)], "p") == [lax]
    assert shared_metrics([*given, *rows("c", {(0, "x"): 0.5}, lax)], "p") == [lax], "c was never measured at the other"
    assert shared_metrics(given, "another") == []


def test_only_values_of_both_models_count() -> None:
    """A value that one model lacks is left out; deals count equally, however many clients they have."""
    given = rows("a", {(0, "x"): 0.5, (0, "y"): 0.7, (1, "x"): 0.9, (2, "x"): 0.1})
    given += rows("b", {(0, "x"): 0.4, (0, "y"): 0.4, (1, "x"): 0.8, (2, "x"): None})
    (group,) = metric_groups(given)
    found = compare(group, A, B)
    assert found is not None
    assert (found.deals, found.low) == (2, None)
    assert found.mean == pytest.approx((0.2 + 0.1) / 2)
    assert compare(group, A, ("c", "generic")) is None


def test_a_model_of_clients_is_compared_with_one_without_by_its_mean() -> None:
    """As each client's own backbone among people whom no client knows, beside the generic model."""
    given = rows("a", {(0, "x"): 0.5, (0, "y"): 0.7, (1, "x"): 0.9}) + rows("b", {(0, ""): 0.9, (1, ""): 0.4})
    (group,) = metric_groups(given)
    found = compare(group, A, B)
    assert found is not None
    assert found.deals == 2
    assert found.mean == pytest.approx((-0.3 + 0.5) / 2)
    assert covers(group, A, B)
    assert covers(group, B, A)
    (shorter,) = metric_groups(given[1:2] + given[3:])
    assert covers(shorter, B, A)
    assert not covers(shorter, A, B)


VALUES = {(seed, client): 0.1 * seed**2 + (0.05 if client == "x" else 0.0) for seed in range(4) for client in "xy"}
START = 0.2


def difference(deals: Deals) -> Difference:
    ours = {place: START + value for place, value in VALUES.items()}
    found = compare(metric_groups(rows("a", dict(ours)) + rows("b", dict.fromkeys(VALUES, START)), deals)[0], A, B)
    assert found is not None
    return found


def test_the_interval_is_over_deals_not_over_clients() -> None:
    means = [0.1 * seed**2 + 0.025 for seed in range(4)]
    expected = stats.t.interval(0.95, 3, np.mean(means), stats.sem(means))
    found = difference(Deals(people=40))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.p_value == pytest.approx(stats.ttest_1samp(means, 0).pvalue)


def test_deals_that_train_on_the_same_people_have_no_interval() -> None:
    found = difference(Deals(people=40, shared=1))
    assert (found.low, found.high, found.p_value, found.significant) == (None, None, None, False)
    assert found.mean == pytest.approx(0.375)


def test_people_tested_in_several_deals_widen_the_interval() -> None:
    people = {seed: Outcomes({person: (-1) ** person * 0.1 for person in range(30)}, {}) for seed in range(4)}
    nobody = {seed: Outcomes({}, dict.fromkeys(range(30), 1)) for seed in range(4)}
    shared = difference(Deals(outcomes={("p", "m"): {A: people, B: nobody}}))
    alone = difference(Deals(outcomes={("p", "m"): {A: people}}))
    assert alone == difference(Deals()), "of one model they are not known"
    assert shared.low is not None
    assert alone.low is not None
    assert shared.low < alone.low
    moved = {seed: replace(each, rejected=nobody[seed].rejected) for seed, each in people.items()}
    same = difference(Deals(outcomes={("p", "m"): {A: people, B: moved}}))
    assert same == alone, "what moves both models alike does not move their difference"


def test_a_difference_that_few_people_make_has_no_interval() -> None:
    """The same people in several deals are counted once."""

    def found(*rejected: dict[int, int]) -> Difference:
        ours = {seed: Outcomes({}, each) for seed, each in enumerate(rejected)}
        theirs = {seed: Outcomes({}, {99: 4}) for seed in range(4)}
        return difference(Deals(outcomes={("p", "m"): {A: ours, B: theirs}}))

    nine = [{99: 4, **dict.fromkeys(range(9), 2)}] * 4
    assert (found(*nine).low, found(*nine).few) == (None, True)
    assert found(*nine[:3], {99: 4, 9: 1}).low is not None
    assert found(*nine[:3], {99: 3}).low is not None
    assert (difference(Deals(people=40, shared=1)).few, difference(Deals()).few) == (False, False)


@pytest.mark.parametrize(("level", "interval"), [(0.5, True), (0.89, True), (0.93, False), (0.11, True), (0.05, False)])
def test_near_saturation_an_interval_needs_the_outcomes_by_person(level: float, interval: bool) -> None:
    """The pairs of a verification set are the same in all deals, so that no people are drawn."""
    values = {(seed, "x"): level + 0.001 * seed for seed in range(4)}
    (group,) = metric_groups(rows("a", dict(values)) + rows("b", dict.fromkeys(values, level)))
    found = compare(group, A, B)
    assert found is not None
    assert (found.low is not None, found.few) == (interval, not interval)
    fixed = compare(replace(group, protocol="verification-set agedb"), A, B)
    assert fixed is not None
    assert fixed.low is not None


@pytest.mark.parametrize(
    ("reference", "margin"), [(0.5, 0.01), (0.97, 0.01), (0.99, 0.005), (1.0, 0.0), (0.004, 0.002), (0.0, 0.0)]
)
def test_the_margin_is_at_most_half_of_what_the_reference_leaves(reference: float, margin: float) -> None:
    """Nothing is equal to, or not behind, a saturated reference: there is no room to be behind by a point."""
    drawn = {seed: Outcomes({}, dict.fromkeys(range(20), seed)) for seed in range(1, 5)}
    none = {seed: Outcomes({}, {}) for seed in range(1, 5)}
    deals = Deals(outcomes={("p", "m"): {A: drawn, B: none}})
    values = {(seed, "x"): reference - 0.0001 * seed for seed in range(1, 5)}
    (group,) = metric_groups(rows("a", dict(values)) + rows("b", dict.fromkeys(values, reference)), deals)
    (found,) = corrected([compare(group, A, B)])
    assert found is not None
    assert found.difference.margin == pytest.approx(margin)
    assert (found.equal, found.not_behind) == (margin > 0, margin > 0)
    assert not found.larger or margin < 0.0002


def test_members_without_an_interval_count_in_a_family() -> None:
    deals, _ = family(0.006, 0.03)
    given = [*(Difference(fmean(each), 0.0, 0.0, 5, estimate=estimate(each)) for each in deals), None]
    plain = [float(stats.ttest_1samp(values, 0).pvalue) for values in deals]
    found = corrected(given, 5)
    assert [each and each.p_value for each in found] == [*(pytest.approx(p) for p in holm([*plain, 1, 1, 1])[:2]), None]


def test_larger_needs_the_interval_beyond_the_margin() -> None:
    _, found = family(-0.03, -0.011, 0.03, 0.0)
    assert [each.larger for each in found] == [True, False, True, False]


def test_an_end_of_zero_up_to_rounding_is_not_significant() -> None:
    assert not Difference(-0.03, -0.06, -1e-17, 4).significant
    assert not Difference(0.03, 1e-17, 0.06, 4).significant
    assert Difference(0.03, 1e-3, 0.06, 4).significant


def test_the_better_model_has_the_higher_mean_over_deals() -> None:
    given = [
        *rows("a", {(0, "x"): 0.9, (1, "x"): 0.1, (1, "y"): 0.1}),
        *(replace(row, model="personalized") for row in rows("a", {(0, "x"): 0.4, (1, "x"): 0.5})),
    ]
    (group,) = metric_groups(given)
    assert better_model(group, "a") == ("a", "generic"), "0.50 against 0.45: deals count equally"
    assert better_model(group, "b") is None


def family(*offsets: float) -> tuple[list[list[float]], list[Comparison]]:
    """Return the differences by deal, and the comparisons of as many models with B."""
    deals = [
        [offset + 0.002 * ((seed * (number % 4 + 1)) % 5 - 2) for seed in range(5)]
        for number, offset in enumerate(offsets)
    ]
    given = rows("b", dict.fromkeys([(seed, "x") for seed in range(5)], 0.5))
    for number, values in enumerate(deals):
        given += rows(f"a{number}", {(seed, "x"): 0.5 + value for seed, value in enumerate(values)})
    (group,) = metric_groups(given)
    found = corrected([compare(group, (f"a{number}", "generic"), B) for number in range(len(offsets))])
    return deals, [each for each in found if each is not None]


def test_all_p_values_of_a_family_are_corrected() -> None:
    deals, found = family(0.006, 0.0, 0.03, -0.03)
    plain = [estimate(values) for values in deals]
    expected = holm([float(stats.ttest_1samp(values, 0).pvalue) for values in deals])
    assert [each.p_value for each in found] == pytest.approx(expected)
    ahead = holm([float(stats.ttest_1samp(values, -MARGIN, alternative="greater").pvalue) for values in deals])
    assert [each.not_behind_p for each in found] == pytest.approx(ahead)
    below = [float(stats.ttest_1samp(values, MARGIN, alternative="less").pvalue) for values in deals]
    above = [float(stats.ttest_1samp(values, -MARGIN, alternative="greater").pvalue) for values in deals]
    assert [each.equal_p for each in found] == pytest.approx(holm(list(map(max, below, above))))
    for values, low, high in zip(plain, below, above, strict=True):
        assert values.equivalent(MARGIN) == (max(low, high) < 0.05)


def test_equal_is_a_result_of_its_own_and_not_the_lack_of_a_difference() -> None:
    _, (near, far) = family(0.0, 0.03)
    assert (near.equal, near.differs, near.not_behind) == (True, False, True)
    assert (far.equal, far.differs, far.not_behind) == (False, True, True)
    none = Comparison(Difference(0.0, None, None, 2))
    assert (none.equal, none.differs, none.not_behind) == (False, False, False)
    # Alone it is settled; among many that are not, it is not.
    _, (alone,) = family(0.0055)
    _, (first, *_) = family(0.0055, *[0.0099] * 12)
    assert alone.equal
    assert not first.equal
