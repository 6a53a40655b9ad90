"""Personalized protocols: a client's own identities among the test images of all clients (FedFR, section 4.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.config.schema import EvaluationConfig
from fedfr.core.errors import FedfrError
from fedfr.evaluation.identification import (
    gallery_rows,
    gallery_templates,
    open_set_identification,
    released_identification,
)
from fedfr.evaluation.metrics import Metric
from fedfr.evaluation.score_distributions import ScoreCounts, pair_scores, search_scores
from fedfr.evaluation.verification import personalized_verification

__all__ = [
    "personalized_identification_protocol",
    "personalized_identification_scores",
    "personalized_verification_protocol",
    "personalized_verification_scores",
]

Floats = NDArray[np.floating[Any]]


def personalized_verification_protocol(
    *,
    features: Floats,
    labels: NDArray[Any],
    own: NDArray[np.bool_],
    gallery_features: Floats | None = None,
    gallery_labels: NDArray[Any] | None = None,
    config: EvaluationConfig | None = None,
    cohort: Floats | None = None,
) -> list[Metric]:
    """Return TAR at every FAR over the pairs of which at least one image is the client's own.

    ``features`` (N, D) of all test images of all clients, ``labels`` (N,), ``own`` (N,) bool marks this client's. All
    personalized protocols take the same arguments; this one does not use the gallery. ``cohort`` (C, D) normalizes the
    scores, see :func:`~fedfr.evaluation.verify`.
    """
    config = config or EvaluationConfig()
    binned = config.verification == "binned"
    return personalized_verification(features, labels, own, config.fars, binned=binned, cohort=cohort)


def personalized_verification_scores(
    *,
    features: Floats,
    labels: NDArray[Any],
    own: NDArray[np.bool_],
    gallery_features: Floats | None = None,
    gallery_labels: NDArray[Any] | None = None,
) -> ScoreCounts:
    """Return the score distribution of :func:`personalized_verification_protocol`."""
    return pair_scores(features, labels, own)


def personalized_identification_protocol(
    *,
    features: Floats,
    labels: NDArray[Any],
    own: NDArray[np.bool_],
    gallery_features: Floats,
    gallery_labels: NDArray[Any],
    config: EvaluationConfig | None = None,
    cohort: Floats | None = None,
) -> list[Metric]:
    """Search every test image in a gallery of the client's identities: standard, then released convention.

    The gallery holds one template per identity from ``gallery_features`` (G, D), the client's training images, with
    ``gallery_labels`` (G,). Scores normalized by a ``cohort`` (C, D) have no released convention. Raises
    :class:`FedfrError` if the identity of an own test image is not in the gallery.
    """
    config = config or EvaluationConfig()
    templates, identities = gallery_templates(gallery_features, gallery_labels)
    probes = gallery_rows(labels, identities)
    missing = np.flatnonzero(own & (probes < 0))
    if missing.size:
        row = int(missing[0])
        raise FedfrError(f"own test image in row {row} has label {labels[row]}, which is not in the gallery; enrol it")
    standard = open_set_identification(templates, features, probes, config.fpirs, cohort=cohort)
    released = [] if cohort is not None else released_identification(templates, features, probes, config.fpirs)
    return standard + released


def personalized_identification_scores(
    *,
    features: Floats,
    labels: NDArray[Any],
    own: NDArray[np.bool_],
    gallery_features: Floats,
    gallery_labels: NDArray[Any],
) -> ScoreCounts:
    """Return the score distribution of :func:`personalized_identification_protocol`, standard convention."""
    templates, identities = gallery_templates(gallery_features, gallery_labels)
    return search_scores(templates, features, gallery_rows(labels, identities))
