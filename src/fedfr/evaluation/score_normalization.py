"""Adaptive score normalization (AS-norm) with a cohort of other people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.short_repr import Brief
from fedfr.evaluation.unit_features import normalize

__all__ = ["TOP", "CohortStatistics", "cohort_statistics"]

TOP = 200
"""Number of cohort members most similar to an image from which its mean and standard deviation are computed."""
ROWS = 4096
# A feature whose most similar cohort members all score the same has no spread to divide by.
SMALLEST_DEVIATION = 1e-6


@dataclass(frozen=True, repr=False)
class CohortStatistics(Brief):
    """For every feature the mean and the inverse standard deviation of its cohort scores, (N,) float32 each."""

    mean: NDArray[np.float32]
    inverse: NDArray[np.float32]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> CohortStatistics:
        return CohortStatistics(self.mean[rows], self.inverse[rows])

    def apply(self, columns: CohortStatistics, scores: NDArray[np.float32]) -> None:
        """Normalize ``scores`` (N, M) of these features with those of ``columns``, in place.

        s' = ½ · ((s − μ_row) / σ_row + (s − μ_column) / σ_column).
        """
        scores *= (self.inverse[:, None] + columns.inverse) * np.float32(0.5)
        scores -= ((self.mean * self.inverse)[:, None] + columns.mean * columns.inverse) * np.float32(0.5)


def cohort_statistics(features: NDArray[np.float32], cohort: ArrayLike, top: int = TOP) -> CohortStatistics:
    """Return the statistics of normalized ``features`` (N, D) over the ``top`` highest scores with ``cohort`` (C, D).

    The adaptive cohort of each side is chosen by that side's own scores (AS-norm 1; Matějka et al., Interspeech 2017).
    A cohort of no more than ``top`` members is used whole. Raises :class:`FedfrError` for fewer than two members and
    for another dimension.
    """
    members = normalize(cohort, "cohort features")
    if len(members) < 2 or members.shape[1] != features.shape[1]:
        raise FedfrError(
            f"found a cohort of shape {members.shape} for features of {features.shape[1]} dimensions; give features of "
            "at least two other people under the same model"
        )
    used = min(top, len(members))
    mean, inverse = np.empty(len(features), np.float32), np.empty(len(features), np.float32)
    for start in range(0, len(features), ROWS):
        rows = slice(start, start + ROWS)
        highest = np.partition(features[rows] @ members.T, len(members) - used, axis=1)[:, len(members) - used :]
        mean[rows] = highest.mean(axis=1, dtype=np.float64)
        inverse[rows] = 1 / np.maximum(highest.std(axis=1, dtype=np.float64), SMALLEST_DEVIATION)
    return CohortStatistics(mean, inverse)
