"""Generic protocols: verification and identification of identities that no client trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.config.schema import EvaluationConfig
from fedfr.evaluation.array_inputs import as_labels
from fedfr.evaluation.identification import gallery_rows, gallery_templates, identify
from fedfr.evaluation.metrics import Metric, rate_label
from fedfr.evaluation.score_distributions import ScoreCounts, pair_scores, search_scores
from fedfr.evaluation.verification import verify, verify_pairs

__all__ = [
    "enrolled_images",
    "generic_identification_protocol",
    "generic_identification_scores",
    "generic_pairs_protocol",
    "generic_verification_protocol",
    "generic_verification_scores",
]

FOLDS = 10

Floats = NDArray[np.floating[Any]]


def generic_verification_protocol(
    features: Floats, labels: NDArray[Any], config: EvaluationConfig | None = None, cohort: Floats | None = None
) -> list[Metric]:
    """Return TAR at every FAR over all unordered pairs of ``features`` (N, D) with ``labels`` (N,).

    ``cohort`` (C, D) normalizes the scores, see :func:`~fedfr.evaluation.verify`.
    """
    config = config or EvaluationConfig()
    return verify(features, labels, config.fars, binned=config.verification == "binned", cohort=cohort)


def generic_verification_scores(features: Floats, labels: NDArray[Any]) -> ScoreCounts:
    """Return the score distribution of :func:`generic_verification_protocol`."""
    return pair_scores(features, labels, np.ones(len(labels), np.bool_))


def generic_identification_protocol(
    features: Floats, labels: NDArray[Any], config: EvaluationConfig | None = None, cohort: Floats | None = None
) -> list[Metric]:
    """Return open-set 1:N metrics with half of the identities enrolled; images of all others are non-mated probes.

    Standard convention; :func:`enrolled_images` defines which identities and images are enrolled.
    """
    config = config or EvaluationConfig()
    labels = as_labels(labels, len(features))
    enrolled = enrolled_images(labels)
    if not enrolled.any():
        reason, others = "no identity has two images, so none can be enrolled", len(labels)
        refused = [Metric(f"TPIR@FPIR={rate_label(rate)}", None, 0, others, 0.0, reason) for rate in config.fpirs]
        return [*refused, Metric("rank-1", None, 0, 0, 0.0, reason)]
    return identify(
        features[enrolled], labels[enrolled], features[~enrolled], labels[~enrolled], config.fpirs, cohort=cohort
    )


def generic_identification_scores(features: Floats, labels: NDArray[Any]) -> ScoreCounts | None:
    """Return the score distribution of :func:`generic_identification_protocol`; None if no identity can be enrolled."""
    enrolled = enrolled_images(labels)
    if not enrolled.any():
        return None
    templates, identities = gallery_templates(features[enrolled], labels[enrolled])
    return search_scores(templates, features[~enrolled], gallery_rows(labels[~enrolled], identities))


def generic_pairs_protocol(
    features_a: Floats, features_b: Floats, same: NDArray[np.bool_], config: EvaluationConfig | None = None
) -> list[Metric]:
    """Return 10-fold accuracy and TAR at every FAR of given pairs (P, D) and (P, D), ``same`` (P,)."""
    config = config or EvaluationConfig()
    if len(same) < FOLDS:
        genuine = int(same.sum())
        reason = f"{len(same)} pairs cannot be divided into {FOLDS} folds"
        return [Metric("accuracy", None, genuine, len(same) - genuine, 0.0, reason)]
    return verify_pairs(features_a, features_b, same, config.fars, folds=FOLDS)


def enrolled_images(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which images form the gallery, (N,) bool.

    Of the identities with two images or more, in ascending order of label, every second one is enrolled, beginning with
    the first, with the first half (rounded down) of its images in the given order.
    """
    _, which, counts = np.unique(labels, return_inverse=True, return_counts=True)
    chosen = np.zeros(len(counts), np.bool_)
    chosen[np.flatnonzero(counts >= 2)[::2]] = True
    # Per image, sorted by label in the given order: how many images of the same identity come before it.
    order = np.argsort(which, kind="stable")
    before = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    enrolled = np.zeros(len(labels), np.bool_)
    enrolled[order] = chosen[which[order]] & (before < counts[which[order]] // 2)
    return enrolled
