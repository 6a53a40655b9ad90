"""Protocol of published verification sets: the metrics that papers report on LFW, CFP-FP, AgeDB-30 and others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.config.schema import EvaluationConfig
from fedfr.evaluation.folds import fold_validation_rates
from fedfr.evaluation.metrics import Metric, exact_product, rate_label
from fedfr.evaluation.protocols.generic import FOLDS, generic_pairs_protocol
from fedfr.evaluation.unit_features import normalize
from fedfr.evaluation.verification import equal_error_rate

__all__ = ["verification_set_protocol", "wilson_interval"]

# Quantile of the normal distribution for 95 %, two-sided.
Z = 1.959963984540054
DRAWS = 1000
VALIDATION_FAR = 1e-3

Floats = NDArray[np.floating[Any]]


def verification_set_protocol(
    features_a: Floats, features_b: Floats, same: NDArray[np.bool_], config: EvaluationConfig | None = None
) -> list[Metric]:
    """Return 10-fold accuracy as InsightFace computes it, TAR at FAR and EER of pairs, each with a 95 % interval.

    ``features_a`` and ``features_b`` (P, D), ``same`` (P,). The last metric is InsightFace's "VAL" at FAR 1e-3, marked
    as its convention, which is never refused however few impostors there are.

    Intervals of accuracy and TAR are Wilson's (1927), for shares of all pairs or of the genuine pairs; the interval of
    the EER is formed by the percentiles of 1 000 bootstrap samples of genuine and of impostor pairs. They reflect the
    number of pairs, not how a threshold would perform on other people.
    """
    measurements = []
    for measured in generic_pairs_protocol(features_a, features_b, same, config):
        measurements.append(measured)
        if measured.value is not None and measured.name != "accuracy-std":
            count = len(same) if measured.name == "accuracy" else measured.genuine
            measurements += _ends(measured, *wilson_interval(measured.value, count))
    return [*measurements, *_equal_error(features_a, features_b, same), *_validation(features_a, features_b, same)]


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % score interval of a share of ``count`` trials (Wilson, JASA 1927)."""
    middle = (share + Z * Z / (2 * count)) / (1 + Z * Z / count)
    half = Z / (1 + Z * Z / count) * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def _equal_error(features_a: Floats, features_b: Floats, same: NDArray[np.bool_]) -> list[Metric]:
    scores = np.einsum("pd,pd->p", normalize(features_a, "features_a"), normalize(features_b, "features_b"))
    genuine, impostor = scores[same], scores[~same]
    counts = len(genuine), len(impostor)
    if not all(counts):
        return [Metric("EER", None, *counts, 0.0, "it needs genuine and impostor pairs")]
    generator = np.random.default_rng(0)
    drawn = [
        equal_error_rate(*(generator.choice(each, len(each)) for each in (genuine, impostor))) for _ in range(DRAWS)
    ]
    value = equal_error_rate(genuine, impostor)
    measured = Metric("EER", value, *counts, value * counts[1])
    return [measured, *_ends(measured, *np.quantile(drawn, [0.025, 0.975]).tolist())]


def _validation(features_a: Floats, features_b: Floats, same: NDArray[np.bool_]) -> list[Metric]:
    genuine, impostor = int(same.sum()), int((~same).sum())
    above = float(exact_product(VALIDATION_FAR, impostor))
    names = [f"{name}(insightface)@FAR={rate_label(VALIDATION_FAR)}" for name in ("VAL", "VAL-std")]
    rates = None
    if len(same) >= FOLDS:
        left, right = normalize(features_a, "features_a"), normalize(features_b, "features_b")
        rates = fold_validation_rates(left, right, same, VALIDATION_FAR, FOLDS)
    if rates is None:
        reason = f"not every one of {FOLDS} folds has genuine pairs, and impostors in the others"
        return [Metric(name, None, genuine, impostor, above, reason) for name in names]
    values = float(rates.mean()), float(rates.std())
    return [Metric(name, value, genuine, impostor, above) for name, value in zip(names, values, strict=True)]


def _ends(measured: Metric, low: float, high: float) -> list[Metric]:
    name, at, rate = measured.name.partition("@")
    return [
        Metric(f"{name}({end}){at}{rate}", value, measured.genuine, measured.impostor, measured.impostors_above)
        for end, value in (("low95", low), ("high95", high))
    ]
