"""Log-likelihood ratio of a score, genuine against stranger, by logistic calibration with bounds."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from fedfr.core.errors import FedfrError
from fedfr.recognition.calibration.provable_rates import checked_scores

__all__ = ["Likelihood", "cllr", "fit_likelihood"]

STEPS = 100
SMALLEST_STEP = 1e-10


@dataclass(frozen=True)
class Likelihood:
    """Parameters of the log-likelihood ratio: ``slope`` · score + ``offset``, not beyond ``lowest`` … ``highest``.

    ``cllr`` is the cost of the ratios of the calibration's own scores (0 for perfect ones, 1 for none).
    """

    slope: float
    offset: float
    lowest: float
    highest: float
    cllr: float

    def __call__(self, score: float) -> float:
        """Return the natural logarithm of the likelihood ratio of ``score``."""
        return min(self.highest, max(self.lowest, self.slope * score + self.offset))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Likelihood:
        """Return the likelihood that :meth:`to_json` gave."""
        return cls(*(float(content[name]) for name in ("slope", "offset", "lowest", "highest", "cllr")))


def fit_likelihood(genuine: ArrayLike, strangers: ArrayLike, people: int | None = None) -> Likelihood:
    """Fit the log-likelihood ratio by logistic regression with equal weight for both kinds of scores.

    Targets are smoothed (Platt 1999), so that separated scores have finite parameters. The ratio is at most ln(S + 1)
    for S strangers and at least −ln(P + 1) for ``people`` P (by default one per genuine score): so many people cannot
    support stronger evidence. Raises :class:`FedfrError` if one kind of scores is empty, NaN or infinite.

    >>> from fedfr.recognition import fit_likelihood
    >>> ratio = fit_likelihood([0.6, 0.7, 0.8, 0.5], [0.1, 0.2, 0.3, 0.35, 0.25])
    >>> f"{ratio(0.2):.2f} {ratio(0.4):.2f} {ratio(0.9):.2f}"
    '-1.61 -0.37 1.79'
    """
    same, other = checked_scores(genuine, "genuine scores"), checked_scores(strangers)
    if len(same) == 0 or len(other) == 0:
        raise FedfrError(f"found {len(same)} genuine and {len(other)} strangers' scores; both are needed for a ratio")
    scores = np.concatenate([same, other])
    targets = np.concatenate(
        [np.full(len(same), (len(same) + 1) / (len(same) + 2)), np.full(len(other), 1 / (len(other) + 2))]
    )
    weights = np.concatenate([np.full(len(same), 0.5 / len(same)), np.full(len(other), 0.5 / len(other))])
    centre, spread = float(scores.mean()), float(scores.std()) or 1.0
    slope, offset = _logistic((scores - centre) / spread, targets, weights)
    slope, offset = slope / spread, offset - slope * centre / spread
    lowest, highest = -math.log((people or len(same)) + 1), math.log(len(other) + 1)
    found = Likelihood(slope, offset, lowest, highest, 0.0)
    ratios = [np.clip(slope * kind + offset, lowest, highest) for kind in (same, other)]
    return Likelihood(found.slope, found.offset, lowest, highest, cllr(*ratios))


def cllr(genuine: ArrayLike, strangers: ArrayLike) -> float:
    """Return the cost of log-likelihood ratios (natural logarithms), in bits (Brümmer and du Preez 2006).

    >>> from fedfr.recognition.calibration.likelihood import cllr
    >>> cllr([0.0], [0.0])
    1.0
    """
    same, other = checked_scores(genuine, "genuine ratios"), checked_scores(strangers, "strangers' ratios")
    cost = np.logaddexp(0, -same).mean() + np.logaddexp(0, other).mean()
    return float(cost / (2 * math.log(2)))


def _logistic(
    scores: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """Return slope (at least 0) and offset by Newton's method with halved steps."""
    design = np.stack([scores, np.ones_like(scores)], axis=1)
    values = np.zeros(2)

    def loss(at: NDArray[np.float64]) -> float:
        logits = design @ at
        return float(weights @ (np.logaddexp(0, logits) - targets * logits))

    for _ in range(STEPS):
        chance = expit(design @ values)
        gradient = design.T @ (weights * (chance - targets))
        curvature = (design * (weights * chance * (1 - chance))[:, None]).T @ design + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while loss(values - step) > loss(values) and np.abs(step).max() > SMALLEST_STEP:
            step /= 2
        values = values - step
        if np.abs(step).max() <= SMALLEST_STEP:
            break
    if values[0] < 0:  # A higher score must not speak against the person.
        share = float(weights @ targets)
        return 0.0, math.log(share / (1 - share))
    return float(values[0]), float(values[1])
