"""``fedfr privacy``: plans are printed, and meaningless ones refused with the number."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Fedfr, answered

FORTY_SITES = ["--people", "4000", "--sites", "40", "--honest", "27", "--rounds", "5", "--values", "262144"]


def test_a_plan_is_printed(fedfr: Fedfr) -> None:
    answer = fedfr("privacy", "plan", *FORTY_SITES)
    assert answer.code == 0
    assert "ε = 8.000 at δ = 1e-05 after 5 rounds" in answer.out
    assert "has norm 0.21 C; the mean change has at most C" in answer.out
    content = answered(fedfr("privacy", "plan", *FORTY_SITES, "--json"))
    assert content["noise_multiplier"] == pytest.approx(1.342, abs=1e-3)
    assert content["noise_ratio"] == pytest.approx(0.209, abs=1e-3)


def test_a_meaningless_plan_is_refused_in_one_line(fedfr: Fedfr) -> None:
    three_sites = ["--people", "45", "--sites", "3", "--honest", "3", "--rounds", "5", "--values", "50000000"]
    refused = fedfr("privacy", "plan", *three_sites)
    assert refused.code == 2
    (line,) = refused.err.splitlines()
    assert "need noise of 211 times the largest possible mean change" in line
    assert (
        "fedfr privacy plan: clip = nan: give a number above 0"
        in fedfr("privacy", "plan", *FORTY_SITES, "--clip", "nan").err
    )


def test_a_plan_for_a_secure_sum_counts_on_the_sites_that_do_not_collude(fedfr: Fedfr) -> None:
    """By default a third collude and the threshold is the least that withstands them; the other plan is beside it."""
    given = ["--people", "4000", "--sites", "40", "--rounds", "5", "--values", "262144"]
    default = answered(fedfr("privacy", "plan", *given, "--json"))
    trusting = answered(fedfr("privacy", "plan", *given, "--threshold", "40", "--colluding", "0", "--json"))
    assert (default["honest"], trusting["honest"]) == (14, 40)
    assert default["noise_ratio"] == pytest.approx((40 / 14) ** 0.5 * trusting["noise_ratio"], rel=1e-4)
    assert default["single_ratio"] == pytest.approx(40**0.5 * trusting["noise_ratio"], rel=1e-4)
    refused = fedfr("privacy", "plan", *given, "--threshold", "26")
    assert "a threshold of 26 among 40 sites, 13 of which collude with the server" in refused.err
    assert "give either --honest or these" in fedfr("privacy", "plan", *FORTY_SITES, "--threshold", "30").err


def test_an_audit_of_no_run_is_refused_in_one_line(fedfr: Fedfr, tmp_path: Path) -> None:
    refused = fedfr("privacy", "audit", str(tmp_path))
    assert refused.code == 2
    (line,) = refused.err.splitlines()
    assert "holds no run (there is no config.yaml in it)" in line
