"""Outcomes of test people by deal: several clients, and the people whose outcomes differ between two models."""

from __future__ import annotations

import numpy as np
import pytest

from fedfr.evaluation.person_outcomes import PersonOutcomes
from fedfr.results.person_effects import Outcomes, differing, influences, outcomes_by_deal
from fedfr.results.person_records import PersonRecord

PLACE, KEY = ("personalized-1:1", "TAR@FAR=1e-3"), ("fedfr", "personalized")


def record(seed: int, client: str, people: list[int], accepted: list[int], genuine: list[int]) -> PersonRecord:
    false, impostor = [1] * len(people), [50] * len(people)
    labels, right, every, wrong, other = np.asarray([people, accepted, genuine, false, impostor], np.int64)
    outcomes = PersonOutcomes(labels, right, every, wrong, other, impostors=100, rate=0.001, slope=0.0)
    return PersonRecord(KEY[0], seed, client, KEY[1], *PLACE, outcomes)


def test_clients_are_averaged_and_rejections_added() -> None:
    found = outcomes_by_deal(
        [
            record(0, "a", [1, 2, 3], [4, 9, 0], [6, 9, 0]),
            record(0, "b", [2, 3, 4], [0, 5, 5], [0, 6, 5]),
            record(1, "a", [5], [2], [2]),
        ]
    )
    assert list(found) == [PLACE]
    assert list(found[PLACE]) == [KEY]
    first, second = found[PLACE][KEY][0], found[PLACE][KEY][1]
    assert (first.rejected, second.rejected) == ({1: 2, 3: 1}, {})
    own = {1: (4 - 6 * 13 / 15) / 15, 2: (9 - 9 * 13 / 15) / 15}
    other = {3: (5 - 6 * 10 / 11) / 11, 4: (5 - 5 * 10 / 11) / 11}
    assert first.influence == pytest.approx({person: value / 2 for person, value in (own | other).items()})


def test_people_differ_by_their_rejections_and_are_counted_once() -> None:
    deals = [
        (Outcomes({1: 0.1}, {1: 2, 2: 1}), Outcomes({1: 0.3, 3: 0.1}, {1: 2, 3: 1})),
        (Outcomes({}, {2: 1}), Outcomes({}, {2: 4})),
    ]
    assert differing(deals) == 2
    assert influences(deals)[0] == pytest.approx({1: -0.2, 3: -0.1})
