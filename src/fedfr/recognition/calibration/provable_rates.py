"""Rates of false acceptance that a number of strangers proves, and the thresholds that keep them.

The k-th highest of n strangers' scores lets a share of all strangers pass that follows a Beta(k, n − k + 1)
distribution, whatever the scores' own distribution (Wilks 1941). So the threshold for a rate is the k-th highest score
with the largest k for which P(Bin(n, rate) ≤ k − 1) ≤ 1 − confidence. A person is the unit: one score per stranger.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, betaincinv

from fedfr.core.errors import FedfrError
from fedfr.evaluation.array_inputs import as_array

__all__ = [
    "CONFIDENCE",
    "Threshold",
    "exact_interval",
    "provable_rate",
    "rank_for",
    "strangers_needed",
    "threshold_for",
    "upper_bound",
]

CONFIDENCE = 0.95
"""Probability that a threshold keeps its promise."""
SMALLEST_RATE = 1e-9
# A score computed again, in a product of another shape, differs by rounding. Thresholds are multiples of 1/GRID above
# the stranger's score, so that a stranger who is seen again is rejected again.
GRID = 1e5
LARGEST_ON_GRID = 1e6


@dataclass(frozen=True)
class Threshold:
    """Threshold of a score; a face is accepted if its score is above ``value``.

    ``fpir`` is the promised rate; ``passing`` of the ``strangers`` scored above the threshold. ``upper95`` is the upper
    95 % confidence bound of the share of all strangers that pass.
    """

    value: float
    fpir: float
    strangers: int
    passing: int
    upper95: float

    @property
    def estimate(self) -> float:
        """Share of the strangers that scored above the threshold."""
        return self.passing / self.strangers

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "estimate": self.estimate}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Threshold:
        """Return the threshold that :meth:`to_json` gave."""
        return cls(
            float(content["value"]),
            float(content["fpir"]),
            int(content["strangers"]),
            int(content["passing"]),
            float(content["upper95"]),
        )


def provable_rate(strangers: int, confidence: float = CONFIDENCE) -> float:
    """Return the smallest rate that so many strangers can prove: 1 − (1 − confidence)^(1 / strangers).

    >>> from fedfr.recognition import provable_rate
    >>> f"{provable_rate(299):.4f} {provable_rate(1500):.4f}"
    '0.0100 0.0020'
    """
    _check_confidence(confidence)
    if strangers < 1:
        raise FedfrError(f"strangers = {strangers}; at least one stranger is needed to prove a rate")
    return -math.expm1(math.log1p(-confidence) / strangers)


def strangers_needed(fpir: float, confidence: float = CONFIDENCE) -> int:
    """Return the smallest number of strangers that proves the rate ``fpir``.

    >>> from fedfr.recognition import strangers_needed
    >>> strangers_needed(0.01), strangers_needed(0.001)
    (299, 2995)
    """
    _check_rate(fpir)
    _check_confidence(confidence)
    return max(1, math.ceil(math.log1p(-confidence) / math.log1p(-fpir)))


def rank_for(strangers: int, fpir: float, confidence: float = CONFIDENCE) -> int:
    """Return the largest k for which P(Bin(strangers, fpir) ≤ k − 1) ≤ 1 − confidence; 0 if there is none.

    The k-th highest score is then the threshold; at most k − 1 of these strangers pass.
    """
    _check_rate(fpir)
    _check_confidence(confidence)
    if strangers < strangers_needed(fpir, confidence):
        return 0
    # Rounding must not contradict strangers_needed: with exactly that number, k is 1.
    low, high = 1, strangers + 1
    while high - low > 1:
        middle = (low + high) // 2
        if bdtr(middle - 1, strangers, fpir) <= 1 - confidence:
            low = middle
        else:
            high = middle
    return low


def upper_bound(passing: int, strangers: int, confidence: float = CONFIDENCE) -> float:
    """Return the upper confidence bound of a share of which ``passing`` in ``strangers`` was observed.

    One-sided bound of Clopper and Pearson (1934).
    """
    return 1.0 if passing >= strangers else float(betaincinv(passing + 1, strangers - passing, confidence))


def exact_interval(hits: float, trials: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the two-sided interval of Clopper and Pearson (1934); both numbers may be fractions (effective sizes)."""
    tail = (1 - confidence) / 2
    low = 0.0 if hits <= 0 else float(betaincinv(hits, trials - hits + 1, tail))
    high = 1.0 if hits >= trials else float(betaincinv(hits + 1, trials - hits, 1 - tail))
    return low, high


def threshold_for(scores: ArrayLike, fpir: float, confidence: float = CONFIDENCE) -> Threshold:
    """Return the lowest threshold that at most a share ``fpir`` of all strangers passes, with this confidence.

    ``scores`` (S,) hold one score per stranger. Equal scores count against the threshold: a score that equals it is
    rejected. Raises :class:`FedfrError` for NaN, infinity and other shapes, and where there are too few strangers,
    naming the best rate that they prove.

    >>> import numpy as np
    >>> from fedfr.recognition import threshold_for
    >>> threshold_for(np.arange(1000) / 1000, 0.01)
    Threshold(value=0.99501, fpir=0.01, strangers=1000, passing=4, upper95=0.009...)
    """
    checked = checked_scores(scores)
    rank = needed_rank(len(checked), fpir, confidence)
    value = above_grid(float(np.partition(checked, len(checked) - rank)[len(checked) - rank]))
    # The bound is that of the rank: with equal scores fewer pass, but how many is itself chance.
    return Threshold(value, fpir, len(checked), int((checked > value).sum()), upper_bound(rank - 1, len(checked)))


def needed_rank(strangers: int, fpir: float, confidence: float = CONFIDENCE) -> int:
    """Return :func:`rank_for`, or raise :class:`FedfrError` that names the number needed and the best rate."""
    rank = rank_for(strangers, fpir, confidence)
    if rank == 0:
        best = (
            "none can be proven"
            if strangers == 0
            else f"the best rate they prove is {_round_up(strangers, confidence)}"
        )
        raise FedfrError(
            f"found {strangers} strangers; the rate {fpir:g} with {100 * confidence:g} % confidence needs "
            f"{strangers_needed(fpir, confidence)}, and {best}: add strangers or ask for a higher rate"
        )
    return rank


def above_grid(score: float) -> float:
    """Return a threshold that rejects ``score``, also if it is computed again with other rounding."""
    return math.ceil(score * GRID + 0.5) / GRID if abs(score) <= LARGEST_ON_GRID else score


def checked_scores(scores: ArrayLike, what: str = "strangers' scores") -> NDArray[np.float64]:
    """Return (S,) finite real numbers as float64."""
    given = as_array(scores, what)
    if given.ndim != 1 or given.dtype.kind not in "iuf":
        raise FedfrError(f"{what} have shape {given.shape} and type {given.dtype}; give one real number per person")
    checked = given.astype(np.float64)
    finite = np.isfinite(checked)
    if not finite.all():
        raise FedfrError(f"{what} row {int(np.argmin(finite))} is NaN or infinite; give finite scores")
    return checked


def _round_up(strangers: int, confidence: float) -> str:
    """Return the best provable rate with three digits, rounded up so that asking for it succeeds."""
    best = provable_rate(strangers, confidence)
    unit = 10.0 ** (math.floor(math.log10(best)) - 2)
    return f"{min(math.ceil(best / unit) * unit, best if best > 0.999 else 1):.3g}"


def _check_rate(fpir: float) -> None:
    if not isinstance(fpir, Real) or not SMALLEST_RATE <= fpir < 1:
        raise FedfrError(f"fpir = {fpir!r}; allowed are rates from {SMALLEST_RATE:g} to below 1, such as 0.01")


def _check_confidence(confidence: float) -> None:
    if not isinstance(confidence, Real) or not 0 < confidence < 1:
        raise FedfrError(f"confidence = {confidence!r}; allowed are shares above 0 and below 1, such as 0.95")
