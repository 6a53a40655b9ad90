"""What the runs of a benchmark's seeds have in common: people trained on, and outcomes of people tested on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from fedfr.experiments.experiment import Experiment
from fedfr.results.comparison import Deals
from fedfr.results.person_effects import outcomes_by_deal

__all__ = ["deals_of"]


def deals_of(runs: Sequence[Experiment]) -> Deals:
    """Return what runs of the same faces share; outcomes only where the runs keep them (``evaluation.people``)."""
    if len(runs) == 1:
        return Deals()
    private = [_private_people(run) for run in runs]
    seen = Counter(person for people in private for person in people)
    by_two = max(len(one & other) for one, other in combinations(private, 2))
    outcomes = outcomes_by_deal(record for run in runs for record in run.person_records())
    return Deals(len(seen), sum(count > 1 for count in seen.values()), by_two, outcomes)


def _private_people(run: Experiment) -> set[int]:
    split, labels = run.components.split, run.components.faces.labels
    images = [image for client in split.clients.values() for image in client.train]
    return set(labels[np.asarray(images, np.int64)].tolist())
