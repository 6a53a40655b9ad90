"""Label checks by features: one person under two identities, and images that belong to another identity."""

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
"""Standard deviations above the mean impostor score from which two identities count as one person (see docs/faces.md).
"""

MISLABEL_DEVIATIONS = 5.0
"""Standard deviations above the mean impostor score that a mislabelled image must reach with another identity."""

MISLABEL_MARGIN = 3.0
"""Standard deviations by which that score must exceed the score with the rest of the image's own identity."""

BLOCK = 2048
MAX_SAMPLED = 4096
# Median absolute deviation of a normal distribution, in standard deviations.
NORMAL_MAD = 0.6744897501960817

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class ImpostorScores:
    """Robust statistics of impostor scores: the median, and the median absolute deviation as a standard deviation.

    A few pairs that do show one person do not change them.
    """

    centre: float
    deviation: float

    def score_at(self, deviations: float) -> float:
        """Return the score this many standard deviations above the centre."""
        return self.centre + deviations * self.deviation


@dataclass(frozen=True)
class SimilarIdentities:
    """Two identities that may be one person: labels ``first`` < ``second`` and the cosine of their templates."""

    first: int
    second: int
    score: float


@dataclass(frozen=True)
class MislabelledImage:
    """An image that may be mislabelled: its index, the label of the nearest other identity, and two cosines.

    ``score`` is the cosine with the template of ``nearest``, ``own`` that with the mean of the other images of its
    identity.
    """

    image: int
    nearest: int
    score: float
    own: float


class IdentityTemplates:
    """Templates (mean unit feature per identity) and impostor statistics of labelled features (N, D).

    ``labels`` (N,) lie in 0 … K-1, each with at least one image. Raises :class:`~fedfr.core.errors.FedfrError` for
    features that are not a matrix or not finite.
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
        """Cosine of two templates above which two identities count as one person."""
        return self.impostors.score_at(SAME_PERSON_DEVIATIONS)

    @property
    def is_discriminative(self) -> bool:
        """Whether the threshold lies below 1; with a poorly trained model no pair can reach it."""
        return len(self.templates) > 2 and self.threshold < 1

    def similar_identities(self) -> Iterator[SimilarIdentities]:
        """Yield the pairs of identities above the threshold; exhaustive, in bounded memory."""
        for first in range(0, len(self.templates), BLOCK):
            for second in range(first, len(self.templates), BLOCK):
                scores = self.templates[first : first + BLOCK] @ self.templates[second : second + BLOCK].T
                for row, column in zip(*np.nonzero(scores > self.threshold), strict=True):
                    if first + row < second + column:
                        yield SimilarIdentities(int(first + row), int(second + column), float(scores[row, column]))

    def most_similar_images(self, first: int, second: int) -> tuple[int, int]:
        """Return the two images, one of each identity, with the greatest cosine."""
        first_images, second_images = np.flatnonzero(self._labels == first), np.flatnonzero(self._labels == second)
        scores = self._rows[first_images] @ self._rows[second_images].T
        row, column = np.unravel_index(int(scores.argmax()), scores.shape)
        return int(first_images[row]), int(second_images[column])

    def mislabelled_images(self) -> Iterator[MislabelledImage]:
        """Yield images that are nearer to another identity than to the rest of their own.

        Identities with a single image are skipped.
        """
        least, lead = self.impostors.score_at(MISLABEL_DEVIATIONS), MISLABEL_MARGIN * self.impostors.deviation
        for start in range(0, len(self._rows), BLOCK):
            rows, labels = self._rows[start : start + BLOCK], self._labels[start : start + BLOCK]
            nearest, score = self._nearest_other(rows, labels)
            own = np.einsum("ij,ij->i", rows, normalize(self._sums[labels] - rows))
            mislabelled = (self._counts[labels] > 1) & (score > least) & (score - own > lead)
            for place in np.flatnonzero(mislabelled).tolist():
                yield MislabelledImage(start + place, int(nearest[place]), float(score[place]), float(own[place]))

    def _nearest_other(self, rows: Floats, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], Floats]:
        nearest, best = np.zeros(len(rows), np.int64), np.full(len(rows), -np.inf, np.float32)
        for start in range(0, len(self.templates), BLOCK):
            scores = rows @ self.templates[start : start + BLOCK].T
            in_block = (labels >= start) & (labels < start + scores.shape[1])
            scores[in_block, labels[in_block] - start] = -np.inf
            place = scores.argmax(axis=1)
            score = scores[np.arange(len(rows)), place]
            better = score > best
            nearest[better], best[better] = place[better] + start, score[better]
        return nearest, best

    def split_half_matches(self, among: NDArray[np.int64] | None = None) -> tuple[int, int]:
        """Return how many identities match themselves when their images are split in two, and how many were tried.

        This estimates how many people would be detected if they were in the set under two identities. Only identities
        with two or more images are tried; ``among`` restricts them to these labels.
        """
        # Alternate images in order of the first component, so that the halves do not depend on the image order.
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
    """Compute the statistics from all pairs of templates, or from an evenly spaced sample if there are many."""
    step = max(1, math.ceil(len(templates) / MAX_SAMPLED))
    # Sorted by the first component, so that the sample does not depend on the order of the identities.
    some = templates[np.argsort(templates[:, 0], kind="stable")][::step]
    scores = (some @ some.T)[np.triu_indices(len(some), 1)]
    if not len(scores):
        return ImpostorScores(0.0, math.inf)
    centre = float(np.median(scores))
    return ImpostorScores(centre, float(np.median(np.abs(scores - centre))) / NORMAL_MAD)
