"""How well a model tells apart people nobody trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.config.schema import EvaluationConfig
from fedfr.evaluation.identification import gallery_templates, open_set_identification, probe_labels
from fedfr.evaluation.metrics import Metric, rate_label
from fedfr.evaluation.score_distributions import ScoreCounts, pair_scores, search_scores
from fedfr.evaluation.unit_features import check_labels
from fedfr.evaluation.verification import all_pairs_verification, pairs_verification

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
    features: Floats, labels: NDArray[Any], config: EvaluationConfig | None = None
) -> list[Metric]:
    """1:1: all unordered pairs of ``features`` (N, D) with ``labels`` (N,), TAR at every FAR."""
    config = config or EvaluationConfig()
    return all_pairs_verification(features, labels, config.fars, binned=config.verification == "binned")


def generic_verification_scores(features: Floats, labels: NDArray[Any]) -> ScoreCounts:
    """The scores behind :func:`generic_verification_protocol`."""
    return pair_scores(features, labels, np.ones(len(labels), np.bool_))


def generic_identification_protocol(
    features: Floats, labels: NDArray[Any], config: EvaluationConfig | None = None
) -> list[Metric]:
    """1:N, open set: half of the identities are enrolled, everybody else's images are non-mated probes.

    Standard convention; see :func:`enrolled_images` for who is enrolled, and with which images.
    """
    config = config or EvaluationConfig()
    labels = check_labels(labels, len(features))
    enrolled = enrolled_images(labels)
    if not enrolled.any():
        reason, others = "no identity has two images, nobody can be enrolled", len(labels)
        refused = [Metric(f"TPIR@FPIR={rate_label(rate)}", None, 0, others, 0.0, reason) for rate in config.fpirs]
        return [*refused, Metric("rank-1", None, 0, 0, 0.0, reason)]
    return open_set_identification(*_search(features, labels, enrolled), config.fpirs)


def generic_identification_scores(features: Floats, labels: NDArray[Any]) -> ScoreCounts | None:
    """The scores behind :func:`generic_identification_protocol`; None where nobody can be enrolled."""
    enrolled = enrolled_images(labels)
    return search_scores(*_search(features, labels, enrolled)) if enrolled.any() else None


def generic_pairs_protocol(
    features_a: Floats, features_b: Floats, same: NDArray[np.bool_], config: EvaluationConfig | None = None
) -> list[Metric]:
    """1:1 on given pairs (P, D) and (P, D), ``same`` (P,): 10-fold accuracy, folds in the given order, TAR at FAR."""
    config = config or EvaluationConfig()
    if len(same) < FOLDS:
        genuine = int(same.sum())
        reason = f"{len(same)} pairs cannot be divided into {FOLDS} folds"
        return [Metric("accuracy", None, genuine, len(same) - genuine, 0.0, reason)]
    return pairs_verification(features_a, features_b, same, config.fars, folds=FOLDS)


def _search(
    features: Floats, labels: NDArray[Any], enrolled: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], Floats, NDArray[np.int64]]:
    """Templates, probes and the probes' rows of the gallery."""
    templates, identities = gallery_templates(features[enrolled], labels[enrolled])
    return templates, features[~enrolled], probe_labels(labels[~enrolled], identities)


def enrolled_images(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which images make the gallery, (N,) bool: of the identities with two images or more, in ascending order of
    label, every second one from the first on, with the first half (rounded down) of its images in the given order.
    """
    _, which, counts = np.unique(labels, return_inverse=True, return_counts=True)
    chosen = np.zeros(len(counts), np.bool_)
    chosen[np.flatnonzero(counts >= 2)[::2]] = True
    # In the order of labels, each identity's images as given: how many of the same identity stand before each.
    order = np.argsort(which, kind="stable")
    before = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    enrolled = np.zeros(len(labels), np.bool_)
    enrolled[order] = chosen[which[order]] & (before < counts[which[order]] // 2)
    return enrolled
