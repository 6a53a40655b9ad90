"""Outcomes of a deal's test people, and what they say about the difference of two models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fedfr.evaluation.person_outcomes import PersonOutcomes
from fedfr.results.intervals import Influence
from fedfr.results.person_records import PersonRecord

__all__ = ["Outcomes", "differing", "influences", "outcomes_by_deal"]

_Pair = tuple[str, str]


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of one deal's test people: influence on the mean over clients, and number of rejected genuine ones."""

    influence: Influence
    rejected: Mapping[int, int]


def outcomes_by_deal(
    records: Iterable[PersonRecord],
) -> dict[tuple[str, str], dict[tuple[str, str], dict[int, Outcomes]]]:
    """Return the outcomes by protocol and metric, then model, then seed, each person's over all clients.

    A metric of clients is their mean, so a person's influence on it is the mean of the influences on the clients'.
    """
    groups: defaultdict[tuple[_Pair, _Pair, int], list[PersonOutcomes]] = defaultdict(list)
    for record in records:
        key = (record.protocol, record.metric), (record.method, record.model), record.seed
        groups[key].append(record.outcomes)
    found: dict[_Pair, dict[_Pair, dict[int, Outcomes]]] = {}
    for (place, model, seed), clients in groups.items():
        influence: defaultdict[int, float] = defaultdict(float)
        rejected: defaultdict[int, int] = defaultdict(int)
        for each in clients:
            people = each.people.tolist()
            for person, value in zip(people, each.influence().tolist(), strict=True):
                influence[person] += value / len(clients)
            for person, number in zip(people, (each.genuine - each.genuine_accepted).tolist(), strict=True):
                if number:
                    rejected[person] += number
        found.setdefault(place, {}).setdefault(model, {})[seed] = Outcomes(dict(influence), dict(rejected))
    return found


def influences(both: Iterable[tuple[Outcomes, Outcomes]]) -> list[dict[int, float]]:
    """Return every person's influence on the difference of two models in each deal."""
    pairs = [(ours.influence, theirs.influence) for ours, theirs in both]
    return [
        {person: ours.get(person, 0.0) - theirs.get(person, 0.0) for person in {*ours, *theirs}}
        for ours, theirs in pairs
    ]


def differing(both: Iterable[tuple[Outcomes, Outcomes]]) -> int:
    """Return the number of people of whom two models reject different numbers of genuine outcomes, in any deal."""
    pairs = [(ours.rejected, theirs.rejected) for ours, theirs in both]
    return len({p for ours, theirs in pairs for p in {*ours, *theirs} if ours.get(p, 0) != theirs.get(p, 0)})
