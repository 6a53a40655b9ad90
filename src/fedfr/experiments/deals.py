"""What the runs of a benchmark's seeds have in common: people trained on, and the influence of people tested on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from fedfr.experiments.experiment import Experiment
from fedfr.results.comparison import Deals, Key
from fedfr.results.intervals import Influence

__all__ = ["deals_of"]


def deals_of(runs: Sequence[Experiment]) -> Deals:
    """Return what runs of the same faces share; influences only where the runs keep outcomes (``evaluation.people``).

    A metric of clients is their mean, so a person's influence on it is the mean of the influences on the clients'.
    """
    if len(runs) == 1:
        return Deals()
    private = [_private_people(run) for run in runs]
    seen = Counter(person for people in private for person in people)
    by_two = max(len(one & other) for one, other in combinations(private, 2))
    influences: dict[tuple[str, str], dict[Key, dict[int, dict[int, float]]]] = {}
    for run in runs:
        sums: dict[tuple[str, str], dict[Key, defaultdict[int, float]]] = {}
        clients: Counter[tuple[str, str, Key]] = Counter()
        for record in run.person_records():
            place, key = (record.protocol, record.metric), (record.method, record.model)
            clients[*place, key] += 1
            own = sums.setdefault(place, {}).setdefault(key, defaultdict(float))
            for person, value in zip(
                record.outcomes.people.tolist(), record.outcomes.influence().tolist(), strict=True
            ):
                own[person] += value
        for place, models in sums.items():
            for key, total in models.items():
                mean = {person: value / clients[*place, key] for person, value in total.items()}
                influences.setdefault(place, {}).setdefault(key, {})[run.config.seed] = mean
    found: dict[tuple[str, str], dict[Key, dict[int, Influence]]] = {
        place: {key: dict(seeds) for key, seeds in models.items()} for place, models in influences.items()
    }
    return Deals(len(seen), sum(count > 1 for count in seen.values()), by_two, found)


def _private_people(run: Experiment) -> set[int]:
    split, labels = run.components.split, run.components.faces.labels
    images = [image for client in split.clients.values() for image in client.train]
    return set(labels[np.asarray(images, np.int64)].tolist())
