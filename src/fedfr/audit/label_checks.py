"""Labels against features: one person under two identities, and images that belong to another identity."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.evaluation.array_inputs import as_labels
from fedfr.evaluation.unit_features import normalize

__all__ = ["SAME_PERSON_DEVIATIONS", "IdentityTemplates", "ImpostorScores", "MislabelledImage", "SimilarIdentities"]

SAME_PERSON_DEVIATIONS = 6.3
"""How far above the usual score of two people, in deviations, two identities are one (docs/faces.md: how chosen)."""

MISLABEL_DEVIATIONS = 5.0
"""How far above it an image's score with another identity lies where it belongs to that one …"""

MISLABEL_MARGIN = 3.0
"""… and how far, in the same deviations, its score with the rest of its own identity lies below that."""

BLOCK = 2048
MAX_SAMPLED = 4096
# A normal distribution's median absolute deviation, in its standard deviations.
NORMAL_MAD = 0.6744897501960817

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ImpostorScores:
    """Scores of two people, by median and median absolute deviation: a few pairs of one person do not move them."""

    centre: float
    deviation: float

    def score_at(self, deviations: float) -> float:
        """The score so many deviations above the centre."""
        return self.centre + deviations * self.deviation


@dataclass(frozen=True)
class SimilarIdentities:
    """Two identities, by label, ``first`` < ``second``, and the cosine of their templates."""

    first: int
    second: int
    score: float


@dataclass(frozen=True)
class MislabelledImage:
    """An image, the identity it is nearest to, its cosine with that one's template and with the rest of its own."""

    image: int
    nearest: int
    score: float
    own: float


class IdentityTemplates:
    """Features (N, D) of labelled images (N,), labels 0 … K-1, each with an image; a template is the mean per identity.

    Raises :class:`~fedfr.core.errors.FedfrError` for features that are no matrix or not finite.
    """

    def __init__(self, features: Floats, labels: NDArray[Any]) -> None:
        self._rows = normalize(features)
        self._labels = as_labels(labels, len(features))
        self._sums = np.zeros((int(self._labels.max(initial=-1)) + 1, features.shape[1]), np.float32)
        np.add.at(self._sums, self._labels, self._rows)
        self._counts = np.bincount(self._labels, minlength=len(self._sums))
        self.templates = normalize(self._sums)
        self.impostors = _impostor_scores(self.templates)

    @property
    def threshold(self) -> float:
        """The cosine of two templates above which they are one person."""
        return self.impostors.score_at(SAME_PERSON_DEVIATIONS)

    @property
    def is_discriminative(self) -> bool:
        """Whether a score can reach the threshold at all; with a model that has learnt little it cannot."""
        return len(self.templates) > 2 and self.threshold < 1

    def similar_identities(self) -> Iterator[SimilarIdentities]:
        """Pairs of identities above the threshold; exact, of all pairs, in bounded memory."""
        for first in range(0, len(self.templates), BLOCK):
            for second in range(first, len(self.templates), BLOCK):
                scores = self.templates[first : first + BLOCK] @ self.templates[second : second + BLOCK].T
                for row, column in zip(*np.nonzero(scores > self.threshold), strict=True):
                    if first + row < second + column:
                        yield SimilarIdentities(int(first + row), int(second + column), float(scores[row, column]))

    def most_similar_images(self, first: int, second: int) -> tuple[int, int]:
        """The two images, one of each identity, with the greatest cosine."""
        ours, theirs = np.flatnonzero(self._labels == first), np.flatnonzero(self._labels == second)
        scores = self._rows[ours] @ self._rows[theirs].T
        row, column = np.unravel_index(int(scores.argmax()), scores.shape)
        return int(ours[row]), int(theirs[column])

    def mislabelled_images(self) -> Iterator[MislabelledImage]:
        """Images of identities with two or more that are nearer to another identity than to the rest of their own."""
        least, lead = self.impostors.score_at(MISLABEL_DEVIATIONS), MISLABEL_MARGIN * self.impostors.deviation
        for start in range(0, len(self._rows), BLOCK):
            rows, labels = self._rows[start : start + BLOCK], self._labels[start : start + BLOCK]
            nearest, score = self._nearest_other(rows, labels)
            own = np.einsum("ij,ij->i", rows, normalize(self._sums[labels] - rows))
            stray = (self._counts[labels] > 1) & (score > least) & (score - own > lead)
            for place in np.flatnonzero(stray).tolist():
                yield MislabelledImage(start + place, int(nearest[place]), float(score[place]), float(own[place]))

    def _nearest_other(self, rows: Floats, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], Floats]:
        nearest, best = np.zeros(len(rows), np.int64), np.full(len(rows), -np.inf, np.float32)
        for start in range(0, len(self.templates), BLOCK):
            scores = rows @ self.templates[start : start + BLOCK].T
            mine = (labels >= start) & (labels < start + scores.shape[1])
            scores[mine, labels[mine] - start] = -np.inf
            place = scores.argmax(axis=1)
            score = scores[np.arange(len(rows)), place]
            better = score > best
            nearest[better], best[better] = place[better] + start, score[better]
        return nearest, best

    def split_half_matches(self, among: NDArray[np.int64] | None = None) -> tuple[int, int]:
        """Of how many identities with two or more images two halves score above the threshold, and of how many in all.

        It is how many would be found if they were in the set twice; ``among`` counts only these labels.
        """
        # Every other one by the first component: halves that do not depend on the order of the images.
        order = np.lexsort((self._rows[:, 0], self._labels))
        firsts = np.concatenate([[0], np.cumsum(self._counts)[:-1]])
        odd = np.empty(len(order), np.bool_)
        odd[order] = (np.arange(len(order)) - firsts[self._labels[order]]) % 2 == 1
        half = np.zeros_like(self._sums)
        np.add.at(half, self._labels[odd], self._rows[odd])
        several = np.flatnonzero(self._counts > 1)
        several = several if among is None else np.intersect1d(several, among)
        halves = normalize(half[several]), normalize((self._sums - half)[several])
        return int((np.einsum("ij,ij->i", *halves) > self.threshold).sum()), len(several)


def _impostor_scores(templates: Floats) -> ImpostorScores:
    """From all pairs, or those of so many identities evenly taken that they are enough."""
    step = max(1, math.ceil(len(templates) / MAX_SAMPLED))
    # Ordered by the first component, so that the choice does not depend on the order of the identities.
    some = templates[np.argsort(templates[:, 0], kind="stable")][::step]
    scores = (some @ some.T)[np.triu_indices(len(some), 1)]
    if not len(scores):
        return ImpostorScores(0.0, math.inf)
    centre = float(np.median(scores))
    return ImpostorScores(centre, float(np.median(np.abs(scores - centre))) / NORMAL_MAD)
