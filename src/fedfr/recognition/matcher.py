"""Search of the most similar enrolled person among templates in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedfr.core.errors import FedfrError
from fedfr.evaluation.score_normalization import CohortStatistics, cohort_statistics
from fedfr.evaluation.unit_features import normalize

__all__ = ["Match", "Matcher"]

BLOCK = 1 << 22
"""Greatest number of scores that are held at once (16 MiB)."""


@dataclass(frozen=True)
class Match:
    """Row and score of the most similar template, and those of the second, which are None if there is none."""

    row: int
    score: float
    second: int | None = None
    second_score: float | None = None

    @property
    def margin(self) -> float | None:
        """Distance of the best score to the second; None if there is only one template."""
        return None if self.second_score is None else self.score - self.second_score


class Matcher:
    """Templates (K, D), one per person, compared with probes by the cosine, or by AS-norm with ``cohort`` (C, D).

    Templates, probes and cohort need not have unit length. Raises :class:`FedfrError` for NaN, infinity and other
    shapes.

    >>> import numpy as np
    >>> from fedfr.recognition.matcher import Matcher
    >>> matcher = Matcher(np.eye(3))
    >>> match, = matcher.search([[0.6, 0.8, 0.0]])
    >>> match.row, round(match.score, 4), round(match.margin, 4)
    (1, 0.8, 0.2)
    """

    def __init__(self, templates: ArrayLike, cohort: ArrayLike | None = None) -> None:
        self.templates = normalize(templates, "templates")
        self._cohort = None if cohort is None else normalize(cohort, "cohort features")
        self._norms: CohortStatistics | None = None
        if self._cohort is not None and len(self.templates):
            self._norms = cohort_statistics(self.templates, self._cohort)

    def __len__(self) -> int:
        return len(self.templates)

    def scores(self, probes: ArrayLike, rows: slice = slice(None)) -> NDArray[np.float32]:
        """Return the scores (N, K) of ``probes`` (N, D) with all templates, or with those of ``rows``."""
        features = normalize(probes, "probes")
        if features.shape[1] != self.templates.shape[1]:
            raise FedfrError(
                f"found probes of {features.shape[1]} dimensions for templates of {self.templates.shape[1]}; both must "
                "come from the same model"
            )
        # For one probe this is a matrix times a vector, which reads the templates once in the order of memory.
        scores: NDArray[np.float32] = (self.templates[rows] @ features.T).T
        if self._norms is not None and self._cohort is not None:
            scores = np.ascontiguousarray(scores)
            cohort_statistics(features, self._cohort).apply(self._norms[rows], scores)
        return scores

    def score(self, row: int, probe: ArrayLike) -> float:
        """Return the score of one ``probe`` (D,) with the template of a row."""
        return float(self.scores(np.asarray(probe)[None], slice(row, row + 1))[0, 0])

    def search(self, probes: ArrayLike) -> list[Match]:
        """Return the best match of each of ``probes`` (N, D); an empty list if there are no templates.

        Of equal scores the first template is the best.
        """
        features = normalize(probes, "probes")
        if not len(self.templates):
            return []
        step = max(1, BLOCK // len(self.templates))
        found = []
        for start in range(0, len(features), step):
            found += [_match(row) for row in self.scores(features[start : start + step])]
        return found


def _match(scores: NDArray[np.float32]) -> Match:
    best = int(scores.argmax())
    if len(scores) == 1:
        return Match(best, float(scores[best]))
    others = scores.copy()
    others[best] = -np.inf
    second = int(others.argmax())
    return Match(best, float(scores[best]), second, float(scores[second]))
