"""Checks of new photos of a person: photos of somebody else, and similar enrolled persons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.recognition.decision import StrangersPassing

__all__ = ["SimilarPerson", "find_outliers", "typical_scores"]

Features = NDArray[np.float32]

_RATE = 0.01
"""Share of strangers that may resemble a person more than a photo that is not an outlier."""


@dataclass(frozen=True)
class SimilarPerson:
    """An enrolled person whom new photos resemble: a twin, a relative, or the same person enrolled twice.

    ``score`` is that of the median photo, and ``as_similar`` the share of strangers who resemble somebody in the
    gallery at least as much; ``llr`` is the log-likelihood ratio that they are the same person, None if unknown.
    """

    person: str
    person_id: str
    score: float
    as_similar: StrangersPassing
    llr: float | None = None

    @property
    def text(self) -> str:
        """One sentence for people."""
        strangers = self.as_similar.strangers
        alike = round(self.as_similar.estimate * strangers)
        share = (
            f"none of {strangers} strangers resembles" if not alike else f"{alike} of {strangers} strangers resemble"
        )
        return (
            f"resembles {self.person} (score {self.score:.2f}), and {share} an enrolled person so much: a twin, a "
            "relative, or a second enrolment"
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "person": self.person,
            "person_id": self.person_id,
            "score": self.score,
            "as_similar": {name: value for name, value in self.as_similar.to_json().items() if name != "text"},
            "llr": self.llr,
            "text": self.text,
        }


def find_outliers(new: Features, enrolled: Features, strangers: Features) -> list[int]:
    """Return the indices of ``new`` unit features (N, D) that do not belong to the same person as the others.

    Each photo is compared with the mean of the ``enrolled`` photos (M, D), or of the other new ones if there are none.
    It is an outlier if 1 % of the ``strangers`` (S, D) resemble that mean more than it does. Of new photos alone the
    worst is removed first, and the others are compared again; if two are left and they do not resemble each other,
    both are outliers. A single photo is none.
    """
    if len(enrolled):
        return [index for index, feature in enumerate(new) if _excess(feature, enrolled, strangers) <= 0]
    kept = list(range(len(new)))
    while len(kept) > 1:
        excess = [_excess(new[index], new[[other for other in kept if other != index]], strangers) for index in kept]
        worst = int(np.argmin(excess))
        if excess[worst] > 0:
            break
        if len(kept) == 2:
            return list(range(len(new)))
        del kept[worst]
    return [index for index in range(len(new)) if index not in kept]


def _excess(feature: Features, others: Features, strangers: Features) -> float:
    """Return by how much a photo is more similar to the mean of the others than strangers are."""
    mean = others.mean(axis=0)
    scores = strangers @ mean
    limit = float(np.quantile(scores, 1 - _RATE)) if len(scores) else -np.inf
    return float(feature @ mean) - limit


def typical_scores(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return for every template (K,) the median of the ``scores`` (N, K) of a person's photos.

    Single images are compared, as those of the strangers are: a mean of images scores higher.
    """
    return np.median(scores, axis=0).astype(np.float32)
