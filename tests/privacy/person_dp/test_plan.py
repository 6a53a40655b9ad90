"""Plans: the useful settings, and refusals with the numbers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fedfr.core.errors import FedfrError
from fedfr.core.settings import validate
from fedfr.privacy.person_dp import PlanSettings, make_plan, plan

FORTY_SITES = {"people": 4000, "sites": 40, "honest": 40, "rounds": 5, "values": 1_000_000}
THREE_SITES = {"people": 45, "sites": 3, "honest": 3, "rounds": 5, "values": 50_000_000}


def settings(content: dict[str, Any]) -> PlanSettings:
    return validate(PlanSettings, content, "privacy")


@pytest.mark.parametrize(
    ("people", "values", "ratio"),
    [
        (4000, 50_000_000, "2.4"),
        (4000, 1_000_000, "0.34"),
        (4000, 512 * 512, "0.17"),
        (45, 50_000_000, "211"),
        (45, 1_000_000, "30"),
        (45, 512 * 512, "15"),
    ],
)
def test_the_noise_of_useful_and_meaningless_settings(
    people: int, values: int, ratio: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings(FORTY_SITES | {"people": people, "values": values})
    if float(ratio) > 1:
        with pytest.raises(FedfrError, match=r"need noise of [\d.]+ times the largest possible mean change"):
            make_plan(given)
        monkeypatch.setattr(plan, "LARGEST_NOISE_RATIO", 1e9)
    made = make_plan(given)
    digits = len(ratio.replace(".", "").lstrip("0"))
    assert float(f"{made.noise_ratio:.{digits}g}") == float(ratio)
    assert 7.99 < made.epsilon <= 8


def test_is_printed_for_those_who_decide() -> None:
    text = make_plan(settings(FORTY_SITES | {"honest": 14, "rounds": 20, "values": 500_000})).text()
    for part in (
        "4000 persons at 40 sites",
        "ε = 8.000 at δ = 1e-05 after 20 rounds",
        "knows the noise of all sites in each but 14",
        "2.684 C in the sum from 14 honest sites",
        "has norm 0.8 C; the mean change has at most C",
        "every site adds all of the noise, and that of a round's mean has norm 3 C",
    ):
        assert part in text


def test_noise_grows_with_sites_that_are_not_trusted() -> None:
    trusted, some, none = (make_plan(settings(FORTY_SITES | {"honest": honest})) for honest in (40, 10, 5))
    assert some.noise_ratio == pytest.approx(2 * trusted.noise_ratio, rel=1e-4)
    assert none.noise_ratio == pytest.approx(8**0.5 * trusted.noise_ratio, rel=1e-4)
    assert some.epsilon == pytest.approx(trusted.epsilon, rel=1e-4)


def test_three_sites_are_refused_with_the_number_and_what_would_do() -> None:
    with pytest.raises(FedfrError) as refused:
        make_plan(settings(THREE_SITES))
    message = str(refused.value)
    assert "45 persons, 50000000 values and ε = 8 in 5 rounds need noise of 211 times" in message
    values, people = map(int, re.findall(r"at most (\d+) values, or take part with at least (\d+) persons", message)[0])
    assert make_plan(settings(THREE_SITES | {"values": values})).noise_ratio <= 1
    assert make_plan(settings(THREE_SITES | {"people": people})).noise_ratio <= 1
    with pytest.raises(FedfrError, match="need noise"):
        make_plan(settings(THREE_SITES | {"values": values + 2}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"epsilon": 30.0},
            "ε = 30 means little: one person may change the probability of an outcome by a factor of e^30",
        ),
        ({"delta": 1e-3}, "δ = 0.001 with 4000 persons would allow to publish one of them entirely"),
        ({"people": 2000, "sites": 20, "honest": 20, "agreed": 40, "delta": 3e-4}, "δ = 0.0003 with 4000 persons"),
        ({"honest": 41}, "41 honest sites of 40; give 1 to 40"),
        ({"people": 39}, "39 persons at 40 sites"),
        ({"clip": 0.0}, "privacy: clip = 0.0: give a number above 0"),
        ({"clip": float("nan")}, "privacy: clip = nan"),
        ({"rounds": 0}, "privacy: rounds = 0: give a whole number of at least 1"),
        ({"noise": "site"}, "unknown setting 'noise'"),
    ],
)
def test_meaningless_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(FedfrError, match=re.escape(message)):
        make_plan(settings(FORTY_SITES | change))
