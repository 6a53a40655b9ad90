"""Metric values: labels of rates, exact products, refusal with too few impostors."""

from __future__ import annotations

import pytest

from fedfr.core.errors import FedfrError
from fedfr.evaluation.metrics import empty_metric, exact_product, rate_label


@pytest.mark.parametrize(
    ("rate", "label"),
    [
        (1e-1, "1e-1"),
        (0.01, "1e-2"),
        (1e-6, "1e-6"),
        (2e-2, "2e-2"),
        (1.5e-3, "1.5e-3"),
        (1e-10, "1e-10"),
        (0.5, "5e-1"),
    ],
)
def test_rate_label(rate: float, label: str) -> None:
    assert rate_label(rate) == label


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 2.0, float("nan"), float("inf")])
def test_rates_outside_their_range_are_refused(rate: float) -> None:
    with pytest.raises(FedfrError, match="error rate"):
        rate_label(rate)


def test_expected_reads_rates_as_decimals() -> None:
    assert exact_product(0.29, 100) == 29  # 0.29 * 100 is 28.999999999999996 in float64
    assert float(exact_product(1e-6, 631_920_000)) == 631.92


def test_refusals_give_the_reason() -> None:
    assert empty_metric("m", 0.1, 5, 100, 10).refused == ""
    few = empty_metric("m", 0.1, 5, 99, 10)
    assert few.value is None
    assert few.impostors_above == pytest.approx(9.9)
    assert few.refused == "rests on 9.9 impostors; at least 10 are needed"
    assert empty_metric("m", 0.1, 0, 100, 10).refused == "nothing genuine to accept"
    assert empty_metric("m", 0.1, 5, 0, 0).refused == "no impostors to reject"
    assert empty_metric("m", 0.1, 5, 10, 10, of=100).refused == ""
