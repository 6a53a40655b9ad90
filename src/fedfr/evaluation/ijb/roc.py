"""TAR at FAR as InsightFace's ijb_11.py reads it from scikit-learn's ROC curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedfr.evaluation.metrics import MINIMUM_IMPOSTORS, Metric, empty_metric, rate_label

__all__ = ["insightface_tar"]

Counts = NDArray[np.int64]


def insightface_tar(
    scores: NDArray[np.float64],
    same: NDArray[np.bool_],
    fars: Sequence[float],
    *,
    minimum_impostors: int = MINIMUM_IMPOSTORS,
) -> list[Metric]:
    """Return the TAR at the point of the ROC curve whose FAR is nearest; of equally near points the highest.

    ``scores`` (P,) are accepted at the threshold or above, ``same`` (P,) marks genuine pairs. The curve lacks the
    points that ``sklearn.metrics.roc_curve`` drops by default, so the nearest point may be more than one impostor away,
    and its FAR may exceed the one in the metric's name. :func:`tar_at_far` gives the exact metric.
    """
    genuine = int(same.sum())
    impostor = len(same) - genuine
    measurements = [
        empty_metric(f"TAR(insightface)@FAR={rate_label(far)}", far, genuine, impostor, minimum_impostors)
        for far in fars
    ]
    given = [index for index, metric in enumerate(measurements) if not metric.refused]
    if not given:
        return measurements
    false, true, thresholds = _curve(scores, same)
    rates = false / false[-1]
    for index in given:
        # InsightFace searches the reversed curve, whose first nearest point is the last of this one.
        point = len(rates) - 1 - int(np.argmin(np.abs(rates[::-1] - fars[index])))
        value, threshold = float(true[point] / true[-1]), float(thresholds[point])
        measurements[index] = replace(measurements[index], value=value, threshold=threshold)
    return measurements


def _curve(scores: NDArray[np.float64], same: NDArray[np.bool_]) -> tuple[Counts, Counts, NDArray[np.float64]]:
    """Return the counts of impostor and genuine scores at or above each threshold, and the thresholds.

    As ``roc_curve`` with ``drop_intermediate``: one point per distinct score, without the middle one of three that are
    at equal distances in both counts, and one point that accepts nothing.
    """
    ordered = np.sort(scores)
    # The start of each run of equal scores in ascending order; all following scores are at or above it.
    first = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])
    found = np.bincount(np.searchsorted(ordered, scores[same]), minlength=len(ordered))
    true = np.cumsum(found[::-1])[::-1][first][::-1]
    false = (len(ordered) - first)[::-1] - true
    thresholds = ordered[first][::-1]
    if len(first) > 2:
        corner = (np.diff(false, 2) != 0) | (np.diff(true, 2) != 0)
        kept = np.concatenate([[True], corner, [True]])
        true, false, thresholds = true[kept], false[kept], thresholds[kept]
    return np.concatenate([[0], false]), np.concatenate([[0], true]), np.concatenate([[np.inf], thresholds])
