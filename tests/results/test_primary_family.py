"""Primary comparisons: which are made, by which models, at which rate, and how they are corrected."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from tests.support.drawn_rows import rows_of

from fedfr.results.comparison import Difference, compare
from fedfr.results.intervals import holm
from fedfr.results.metric_groups import Deals
from fedfr.results.primary_family import Primary, primary_family
from fedfr.results.result_rows import Row

GENERIC: Literal["generic-1:1"] = "generic-1:1"
OWN: Literal["personalized-1:1"] = "personalized-1:1"
PRIMARY = Primary(method="fedfr", against=("local-fedfr", "fedavg", "pretrained"), protocols=(GENERIC, OWN))


def values(level: float, *steps: float) -> dict[int, list[float]]:
    """Five deals of a client: ``level`` with deviations."""
    return {seed: [level + 0.001 * step] for seed, step in enumerate(steps or (0, 0, 0, 0, 0))}


def rows() -> list[Row]:
    return rows_of(
        {
            ("pretrained", "pretrained", GENERIC): values(0.5),
            ("fedfr", "generic", GENERIC): values(0.6, 3, -2, 1, 0, -4),
            ("fedavg", "generic", GENERIC): values(0.6, 1, 0, 2, -3, 1),
            ("pretrained", "pretrained", OWN): values(0.5),
            ("local-fedfr", "personalized", OWN): values(0.712, 1, 2, -4, 5, 0),
            ("fedfr", "generic", OWN): values(0.85),
            ("fedfr", "personalized", OWN): values(0.72, 0, 9, -8, 12, -6),
            ("fedavg", "generic", OWN): values(0.68, 0, 2, 1, 0, -1),
            ("fedavg", "personalized", OWN): values(0.6),
            ("moon", "generic", OWN): values(0.3),
        }
    )


def flipped() -> list[Row]:
    return [replace(row, protocol=f"{row.protocol} flip", metric="TAR@FAR=1e-5") for row in rows()]


def test_the_family_is_that_of_the_declaration() -> None:
    """FedFR's model is the one meant for the people, even if another is better; of others the better one counts."""
    family = primary_family(rows(), PRIMARY)
    assert [(each.group.protocol, each.one, each.other) for each in family.comparisons] == [
        (GENERIC, ("fedfr", "generic"), ("fedavg", "generic")),
        (GENERIC, ("fedfr", "generic"), ("pretrained", "pretrained")),
        (OWN, ("fedfr", "personalized"), ("local-fedfr", "personalized")),
        (OWN, ("fedfr", "personalized"), ("fedavg", "generic")),
        (OWN, ("fedfr", "personalized"), ("pretrained", "pretrained")),
    ]
    assert family.missing == ((GENERIC, "local-fedfr"),)
    own = family.metric(OWN)
    assert own is not None
    assert ("moon", "generic") in own.values
    alone = [row for row in rows() if row.protocol == OWN]
    assert primary_family(alone, PRIMARY).metric(GENERIC) is None
    later = rows_of({("local-fedfr", "generic", GENERIC): values(0.5)})
    assert len(primary_family([*rows(), *later], PRIMARY).comparisons) == 6
    assert primary_family(rows(), None).comparisons == ()


def test_all_comparisons_are_corrected_together_and_those_without_an_interval_count() -> None:
    family = primary_family(rows(), PRIMARY)
    plain = []
    for each in family.comparisons:
        difference = compare(each.group, each.one, each.other)
        assert isinstance(difference, Difference)
        plain.append(difference.p_value)
    assert None not in plain
    expected = holm([p for p in plain if p is not None])
    assert [each.found.p_value for each in family.comparisons] == pytest.approx(expected)
    assert [each.verdict for each in family.comparisons] == [
        "equal within 1 point",
        "ahead",
        "not settled",
        "ahead",
        "ahead",
    ]
    high = [replace(row, value=(row.value or 0) + 0.45) if row.protocol == GENERIC else row for row in rows()]
    fewer = primary_family(high, PRIMARY)
    assert [each.found.p_value is None for each in fewer.comparisons] == [True, True, False, False, False]
    rest = [p for p in plain[2:] if p is not None]
    assert [each.found.p_value for each in fewer.comparisons[2:]] == pytest.approx(holm([*rest, 1, 1])[:3])
    shared = primary_family(rows(), PRIMARY, Deals(people=10, shared=1))
    assert {each.verdict for each in shared.comparisons} == {"not settled"}


def test_the_rate_is_the_strictest_that_the_models_of_the_family_have() -> None:
    """A method outside of it, or another scoring, does not change the rate."""
    strict = [replace(row, metric="TAR@FAR=1e-4") for row in rows()]
    without = [row if row.method != "moon" else replace(row, value=None) for row in strict]
    found = primary_family([*rows(), *without], PRIMARY).metric(OWN)
    assert found is not None
    assert found.metric == "TAR@FAR=1e-4"
    without = [row if row.method != "fedavg" else replace(row, value=None) for row in strict]
    family = primary_family([*rows(), *without], PRIMARY)
    assert {each.group.metric for each in family.comparisons} == {"TAR@FAR=1e-3"}
    assert {each.group.protocol for each in primary_family([*rows(), *flipped()], PRIMARY).comparisons} == {
        GENERIC,
        OWN,
    }
