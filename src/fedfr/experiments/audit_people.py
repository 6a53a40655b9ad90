"""People of a privacy audit: candidates with photographs that were not trained on, and who is enrolled where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.rng import numpy_generator
from fedfr.experiments.components import RunComponents
from fedfr.faces import FaceSet

__all__ = ["Candidates", "candidates_of"]

_MOST_PHOTOGRAPHS = 10


@dataclass(frozen=True)
class Candidates:
    """Candidates with the same number of photographs each; ``owners``: the client that enrolled each, or an empty text.

    ``labels``: the candidates' labels in the run's faces.
    """

    photographs: FaceSet
    owners: tuple[str, ...]
    labels: tuple[int, ...]

    def enrolled_at(self, client: str) -> NDArray[np.bool_]:
        """Return which candidates (n,) are enrolled at a client."""
        return np.array([owner == client for owner in self.owners])

    @property
    def enrolled(self) -> NDArray[np.bool_]:
        """Which candidates (n,) are enrolled at any client."""
        return np.array([bool(owner) for owner in self.owners])


def candidates_of(components: RunComponents, most: int) -> Candidates:
    """Choose up to ``most`` enrolled people with test images, and as many of people nobody trains on.

    Raises :class:`FedfrError` if no enrolled person has two test images.
    """
    faces, split = components.faces, components.split
    found: dict[int, tuple[str, NDArray[np.int64]]] = {}
    for owner, images in [*((name, part.test) for name, part in split.clients.items()), ("", split.generic)]:
        indices = np.asarray(images, np.int64)
        for label in np.unique(faces.labels[indices]).tolist():
            own = indices[faces.labels[indices] == label]
            if len(own) > 1:
                found[label] = owner, own[:_MOST_PHOTOGRAPHS]
    members = [label for label, (owner, _) in found.items() if owner]
    if not members:
        raise FedfrError(
            f"{components.folder}: no enrolled person has two images that were not trained on; split the faces with "
            "test images, for instance split.settings.test_count=2"
        )
    count = min(len(found[label][1]) for label in members)
    others = [label for label, (owner, own) in found.items() if not owner and len(own) >= count]
    drawn = numpy_generator(components.config.seed, "audit", "people")
    chosen = sorted(
        int(label)
        for group in (members, others)
        for label in (drawn.choice(group, most, replace=False) if len(group) > most else group)
    )
    photographs = faces.subset(np.concatenate([found[label][1][:count] for label in chosen]))
    return Candidates(photographs, tuple(found[label][0] for label in chosen), tuple(chosen))
