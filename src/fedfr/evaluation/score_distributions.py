"""Score distributions behind the metrics: what ROC, DET and identification curves and histograms are drawn from.

Counted in the 2 001 bins of the released code: a curve may be off the exact metrics by what a bin of 0.001 holds, which
nobody sees in a plot. Metrics are never read off it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.short_repr import Brief
from fedfr.evaluation.binned import score_histogram
from fedfr.evaluation.block_comparisons import OwnPairs
from fedfr.evaluation.identification import best_scores
from fedfr.evaluation.metrics import MINIMUM_IMPOSTORS, expected

__all__ = ["RATES", "ScoreCounts", "pair_scores", "search_scores"]

PER_DECADE = 10
RATES = tuple(float(f"{10 ** (-step / PER_DECADE):.6g}") for step in range(7 * PER_DECADE, -1, -1))
"""Error rates at which curves have points: ten per decade from 1e-7 to 1."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, repr=False)
class ScoreCounts(Brief):
    """How many genuine and impostor scores lie in every bin of 0.001 from -1 to 1.

    1:1: of pairs. 1:N: a non-mated probe counts with its best score, a mated one with its own template's; ``missed``
    are the mated probes that another template beats, which no threshold accepts.
    """

    genuine: NDArray[np.int64]
    impostor: NDArray[np.int64]
    missed: int = 0

    def __add__(self, other: ScoreCounts) -> ScoreCounts:
        return ScoreCounts(self.genuine + other.genuine, self.impostor + other.impostor, self.missed + other.missed)

    def accepted(self, rates: Sequence[float] = RATES, minimum: int = MINIMUM_IMPOSTORS) -> list[float | None]:
        """TAR (1:N: TPIR) at every FAR (FPIR); None where fewer than ``minimum`` impostors are behind it."""
        method_runs, impostors = int(self.genuine.sum()) + self.missed, int(self.impostor.sum())
        # Scores in a bin or above it; beyond the last bin there are none.
        above, genuine = (np.append(np.cumsum(counts[::-1])[::-1], 0) for counts in (self.impostor, self.genuine))
        values: list[float | None] = []
        for rate in rates:
            behind = expected(rate, impostors)
            threshold = int(np.argmax(above <= float(behind)))
            values.append(None if not method_runs or behind < minimum else int(genuine[threshold]) / method_runs)
        return values


def pair_scores(features: Floats, labels: NDArray[Any], own: NDArray[np.bool_]) -> ScoreCounts:
    """Of all unordered pairs with at least one own image, see :func:`personalized_verification`."""
    genuine, impostor = score_histogram(()), score_histogram(())
    for block in OwnPairs(features, labels, own).blocks():
        impostor += score_histogram(block.scores) - score_histogram(block.removed)
        genuine += score_histogram(block.genuine)
    return ScoreCounts(genuine, impostor)


def search_scores(templates: Floats, probes: Floats, labels: NDArray[Any]) -> ScoreCounts:
    """Of every probe's search among the templates, see :func:`open_set_identification`."""
    own, best_other, mated = best_scores(templates, probes, labels)
    first = mated & (own > best_other)
    missed = int(mated.sum() - first.sum())
    return ScoreCounts(score_histogram(own[first]), score_histogram(best_other[~mated]), missed)
