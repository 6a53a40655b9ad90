"""The quickstart's verdict: which differences its deals settle."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedfr.reporting.verdict import METRIC, QUESTIONS, answers, verdict
from fedfr.results.metric_groups import Deals
from fedfr.results.result_rows import Row

NOISE = (0.00, 0.02, -0.02, 0.01, -0.01)


def rows(*differences: float, deals: int = 5) -> list[Row]:
    """Results in which each question has this mean difference, with a half width of about 2 points over five deals."""
    found = []
    for seed in range(deals):
        values = {
            ("pretrained", "pretrained", "personalized-1:1"): 0.5,
            ("pretrained", "pretrained", "generic-1:1"): 0.5,
        }
        for question, difference in zip(QUESTIONS, differences, strict=True):
            one, other = ((*key, question.protocol) for key in (question.one, question.other))
            if one in values:
                values[other] = values[one] - difference - NOISE[seed]
            else:
                values[one] = values[other] + difference + NOISE[seed]
        for (method, model, protocol), value in values.items():
            clients = ("",) if protocol.startswith("generic") else ("client-01", "client-02")
            found += [Row(method, seed, 1, client, model, protocol, METRIC, value, 80, 10_000) for client in clients]
    return found


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ((0.1, 0.1, 0.1, 0.1), ["better"] * 4),
        ((-0.1, 0.1, -0.1, 0.1), ["worse", "better", "worse", "better"]),
        ((0.1, 0.01, 0.3, 0.3), ["better", "not settled", "not settled", "not settled"]),
        ((0.01, 0.1, 0.1, 0.1), ["not settled"] * 4),
    ],
)
def test_a_question_is_settled_only_after_those_before_it(differences: tuple[float, ...], words: list[str]) -> None:
    found = answers(rows(*differences))
    assert [answer.word for answer in found] == words
    assert [answer.difference.mean for answer in found if answer.difference] == pytest.approx(differences)
    assert found[0].to_dict()["low"] == pytest.approx(differences[0] - 0.0196, abs=1e-4)


def test_the_text_says_what_is_settled_and_what_is_not() -> None:
    text = verdict(rows(0.1, 0.1, 0.01, -0.3))
    assert max(map(len, text.splitlines())) <= 80
    assert "fedfr generic − pretrained             own   +10.0 [+8.0, +12.0]       better" in text
    shown, _, rest = text.partition("It does not settle whether")
    assert "This run shows that\n- FedFR's generic model is better for the clients' own people" in shown
    assert "- FedFR's personalized models are better for the clients' own people than the" in shown
    assert "models\n  that each client trains alone" in rest
    assert "people whom nobody trains on" in rest
    assert "other faces" in rest


def test_without_intervals_nothing_is_settled() -> None:
    few = verdict(rows(0.1, 0.1, 0.1, 0.1, deals=2))
    assert "This run settles nothing." in few
    assert "Means over 2 deals without intervals: 3 deals are needed." in few
    shared = verdict(rows(0.1, 0.1, 0.1, 0.1), Deals(people=40, shared=8))
    assert "This run settles nothing." in shared
    assert "Means over 5 deals without intervals: people are private in several deals." in shared
    near = verdict([replace(row, value=(row.value or 0.0) + 0.45) for row in rows(0.01, 0.01, 0.01, 0.01)])
    assert "This run settles nothing." in near
    assert "rests on fewer than 10 people" in " ".join(near.split())
    other = verdict([Row("fedavg", 0, 1, "", "generic", "generic-1:1", METRIC, 0.5, 80, 10_000)])
    assert other.count("not measured") == 4
