"""What the runs of a benchmark's seeds have in common: people trained on, and outcomes of people tested on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

from fedfr.experiments.experiment import Experiment
from fedfr.faces.array_columns import concatenate_indices
from fedfr.results.metric_groups import Deals
from fedfr.results.person_effects import outcomes_by_deal

__all__ = ["deals_of"]


def deals_of(runs: Sequence[Experiment]) -> Deals:
    """Return what runs of the same faces share; outcomes only where the runs keep them (``evaluation.people``)."""
    if len(runs) == 1:
        return Deals()
    private, generic = ([_people(run, part) for run in runs] for part in ("train", "generic"))
    seen = Counter(person for people in private for person in people)
    by_two = max(len(one & other) for one, other in combinations(private, 2))
    tested = len(set().union(*private) & set().union(*generic))
    outcomes = outcomes_by_deal(record for run in runs for record in run.person_records())
    return Deals(len(seen), sum(count > 1 for count in seen.values()), by_two, tested, outcomes)


def _people(run: Experiment, part: Literal["train", "generic"]) -> set[int]:
    """Return the people whom clients train on, or those who test the generic model."""
    split = run.components.split
    images = [split.generic] if part == "generic" else [client.train for client in split.clients.values()]
    return set(run.components.faces.labels[concatenate_indices(images)].tolist())
