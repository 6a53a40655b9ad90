"""Summaries and paired differences of models, computed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from fedfr.results.comparison import (
    MARGIN,
    Comparison,
    Deals,
    Difference,
    better_model,
    compare,
    compare_all,
    metric_groups,
    shared_metrics,
    summaries,
)
from fedfr.results.intervals import estimate, holm
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


VALUES = {(seed, client): 0.1 * seed**2 + (0.05 if client == "x" else 0.0) for seed in range(4) for client in "xy"}


def difference(deals: Deals) -> Difference:
    found = compare(metric_groups(rows("a", dict(VALUES)) + rows("b", dict.fromkeys(VALUES, 0.0)), deals)[0], A, B)
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
    people = {seed: {person: (-1) ** person * 0.1 for person in range(30)} for seed in range(4)}
    nobody = {seed: dict.fromkeys(range(30), 0.0) for seed in range(4)}
    shared = difference(Deals(influences={("p", "m"): {A: people, B: nobody}}))
    alone = difference(Deals(influences={("p", "m"): {A: people}}))
    assert alone == difference(Deals()), "of one model they are not known"
    assert shared.low is not None
    assert alone.low is not None
    assert shared.low < alone.low
    same = difference(Deals(influences={("p", "m"): {A: people, B: people}}))
    assert same == alone, "what moves both models alike does not move their difference"


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
    given = rows("b", dict.fromkeys([(seed, "x") for seed in range(5)], 0.0))
    for number, values in enumerate(deals):
        given += rows(f"a{number}", {(seed, "x"): value for seed, value in enumerate(values)})
    (group,) = metric_groups(given)
    found = compare_all([(group, (f"a{number}", "generic"), B) for number in range(len(offsets))])
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
