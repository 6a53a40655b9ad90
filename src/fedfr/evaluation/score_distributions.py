"""Score distributions, from which ROC, DET and identification curves and histograms are drawn.

Scores are counted in the 2 001 bins of the released code: a curve may differ from the exact metrics by the content of
one bin of 0.001, which is not visible in a plot. Metrics are never read from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedfr.core.short_repr import Brief
from fedfr.evaluation.binned import score_histogram
from fedfr.evaluation.block_comparisons import OwnPairs
from fedfr.evaluation.identification import best_scores
from fedfr.evaluation.metrics import MINIMUM_IMPOSTORS, exact_product

__all__ = ["RATES", "ScoreCounts", "pair_scores", "search_scores"]

PER_DECADE = 10
RATES = tuple(float(f"{10 ** (-step / PER_DECADE):.6g}") for step in range(7 * PER_DECADE, -1, -1))
"""Error rates at which curves have points: ten per decade from 1e-7 to 1."""


@dataclass(frozen=True, repr=False)
class ScoreCounts(Brief):
    """Counts of genuine and impostor scores in bins of 0.001 from -1 to 1.

    1:1: scores of pairs. 1:N: the best score of a non-mated probe, and the score of a mated probe with its own
    template; ``missed`` is the number of mated probes for which another template scores higher, so that no threshold
    accepts them.

    >>> import numpy as np
    >>> from fedfr.evaluation import ScoreCounts
    >>> from fedfr.evaluation.binned import score_histogram
    >>> counts = ScoreCounts(score_histogram([0.9, 0.2]), score_histogram(np.linspace(-0.5, 0.5, 100)))
    >>> counts.accepted([0.5, 0.1])
    [1.0, 0.5]
    """

    genuine: NDArray[np.int64]
    impostor: NDArray[np.int64]
    missed: int = 0

    def __add__(self, other: ScoreCounts) -> ScoreCounts:
        return ScoreCounts(self.genuine + other.genuine, self.impostor + other.impostor, self.missed + other.missed)

    def accepted(self, rates: Sequence[float] = RATES, minimum: int = MINIMUM_IMPOSTORS) -> list[float | None]:
        """Return TAR (1:N: TPIR) at every FAR (FPIR); None if fewer than ``minimum`` impostors are expected above it.

        Rates are between 0 and 1, both included.
        """
        genuine_count, impostors = int(self.genuine.sum()) + self.missed, int(self.impostor.sum())
        # Scores in a bin or above it; there are none above the last bin.
        above, genuine = (np.append(np.cumsum(counts[::-1])[::-1], 0) for counts in (self.impostor, self.genuine))
        values: list[float | None] = []
        for rate in rates:
            allowed = exact_product(rate, impostors)
            threshold = int(np.argmax(above <= float(allowed)))
            refused = not genuine_count or allowed < minimum
            values.append(None if refused else int(genuine[threshold]) / genuine_count)
        return values


def pair_scores(features: ArrayLike, labels: ArrayLike, own: ArrayLike) -> ScoreCounts:
    """Return the distribution over all unordered pairs with at least one own image."""
    genuine, impostor = score_histogram(()), score_histogram(())
    for block in OwnPairs(features, labels, own).blocks():
        impostor += score_histogram(block.scores) - score_histogram(block.removed)
        genuine += score_histogram(block.genuine)
    return ScoreCounts(genuine, impostor)


def search_scores(templates: ArrayLike, probes: ArrayLike, labels: ArrayLike) -> ScoreCounts:
    """Return the distribution over all searches of probes among templates, see :func:`open_set_identification`."""
    own, best_other, mated = best_scores(templates, probes, labels)
    first = mated & (own > best_other)
    missed = int(mated.sum() - first.sum())
    return ScoreCounts(score_histogram(own[first]), score_histogram(best_other[~mated]), missed)
