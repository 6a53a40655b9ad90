"""Standings and paired intervals: by hand, and by how often an interval covers the truth."""

from __future__ import annotations

import numpy as np
import pytest

from fedfr.results.comparison import Difference, compare, metric_groups, shared_metrics, summaries
from fedfr.results.result_rows import Row

A, B = ("a", "generic"), ("b", "generic")


def rows(method: str, values: dict[tuple[int, str], float | None], metric: str = "m") -> list[Row]:
    return [
        Row(method, seed, 1, client, "generic", "p", metric, value, 20, 20, "" if value is not None else "few")
        for (seed, client), value in values.items()
    ]


def test_standings_by_hand() -> None:
    (group,) = metric_groups(rows("a", {(0, "x"): 0.2, (0, "y"): 0.4, (1, "x"): 0.5, (1, "y"): None}))
    summary = summaries(group)[A]
    assert summary.mean == pytest.approx(0.4)
    assert (summary.worst, summary.seeds) == (0.2, 2)
    assert summary.deviation == pytest.approx(0.2 / 2**0.5)


def test_shared_metrics_are_those_without_a_gap_strictest_first() -> None:
    """A client that is refused every figure makes no gap, one that is refused some does."""
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


def test_only_pairs_count() -> None:
    """What one of the two lacks, or was refused, is no pair; seeds weigh alike however many clients they have."""
    given = rows("a", {(0, "x"): 0.5, (0, "y"): 0.7, (1, "x"): 0.9, (2, "x"): 0.1})
    given += rows("b", {(0, "x"): 0.4, (0, "y"): 0.4, (1, "x"): 0.8, (2, "x"): None})
    (group,) = metric_groups(given)
    found = compare(group, A, B)
    assert found is not None
    assert found.pairs == 3
    assert found.mean == pytest.approx((0.2 + 0.1) / 2)
    assert compare(group, A, ("c", "generic")) is None


def test_a_single_pair_has_no_interval() -> None:
    (group,) = metric_groups(rows("a", {(0, ""): 0.5}) + rows("b", {(0, ""): 0.4}))
    found = compare(group, A, B)
    assert found is not None
    assert (found.low, found.high, found.significant) == (None, None, False)


def test_equal_differences_leave_no_doubt() -> None:
    given = rows("a", {(s, c): 0.6 for s in range(3) for c in "xy"}) + rows(
        "b", {(s, c): 0.5 for s in range(3) for c in "xy"}
    )
    found = compare(metric_groups(given)[0], A, B)
    assert found is not None
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.1)
    assert found.significant


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Seeds differ as much as clients do: a bootstrap over clients alone would cover far less often."""
    generator, covered, method_runs = np.random.default_rng(0), 0, 150
    for _ in range(method_runs):
        seeds = generator.normal(0, 1, 8)
        values = {(s, str(c)): float(seeds[s] + generator.normal()) for s in range(8) for c in range(5)}
        found = compare(metric_groups(rows("a", dict(values)) + rows("b", dict.fromkeys(values, 0.0)))[0], A, B)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0 <= found.high
    assert 0.84 <= covered / method_runs <= 0.99


def test_an_end_that_is_zero_but_for_rounding_proves_nothing() -> None:
    assert not Difference(-0.03, -0.06, -1e-17, 4).significant
    assert not Difference(0.03, 1e-17, 0.06, 4).significant
    assert Difference(0.03, 1e-3, 0.06, 4).significant


def test_the_same_rows_give_the_same_interval() -> None:
    given = rows("a", {(0, c): v for c, v in zip("wxyz", (0.1, 0.5, 0.7, 0.2), strict=True)})
    given += rows("b", {(0, c): 0.3 for c in "zyxw"})
    assert compare(metric_groups(given)[0], A, B) == compare(metric_groups(given[::-1])[0], A, B)
