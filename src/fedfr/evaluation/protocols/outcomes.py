"""Outcomes by person of the metrics of generic and personalized protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedfr.config.schema import EvaluationConfig
from fedfr.evaluation.identification import gallery_rows, gallery_templates
from fedfr.evaluation.metrics import Metric
from fedfr.evaluation.person_outcomes import (
    PersonOutcomes,
    identification_outcomes,
    pair_outcomes,
    verification_outcomes,
)
from fedfr.evaluation.protocols import GENERIC_PROTOCOLS, PAIRS_PROTOCOLS, PERSONALIZED_PROTOCOLS
from fedfr.evaluation.protocols.generic import enrolled_images

__all__ = ["SCORED", "outcomes_by_person"]

SCORED = (*GENERIC_PROTOCOLS, *PERSONALIZED_PROTOCOLS)
"""Protocols that compare every image with others, so that scores can be normalized and people counted."""


def outcomes_by_person(
    protocol: str, metrics: Sequence[Metric], config: EvaluationConfig, given: Mapping[str, Any]
) -> dict[str, PersonOutcomes]:
    """Return by name the outcomes of the metrics at a rate that ``protocol`` returned for ``given``.

    For the pairs of a split ``given`` also has ``people_a`` and ``people_b``, the labels of their people. Empty for
    other protocols than those and :data:`SCORED`, for metrics that are refused, and for binned verification, which has
    no thresholds.
    """
    if protocol in PAIRS_PROTOCOLS:
        chosen = [metric for metric in metrics if metric.name.startswith("TAR@")]
        sides = {name: given[name] for name in ("features_a", "features_b", "people_a", "people_b")}
        return _by_name(chosen, pair_outcomes(**sides, metrics=chosen, fars=config.fars) if chosen else [])
    if protocol not in SCORED:
        return {}
    rate_name, rates = ("TAR@", config.fars) if protocol.endswith("1:1") else ("TPIR@", config.fpirs)
    chosen = [metric for metric in metrics if metric.name.startswith(rate_name)]
    features, labels, cohort = given["features"], given["labels"], given.get("cohort")
    if protocol.endswith("1:1"):
        own = given["own"] if "own" in given else np.ones(len(labels), np.bool_)
        found = verification_outcomes(features, labels, own, chosen, rates, cohort=cohort)
    else:
        if "own" in given:
            gallery, enrolled = given["gallery_features"], given["gallery_labels"]
        else:
            inside = enrolled_images(labels)
            gallery, enrolled, features, labels = features[inside], labels[inside], features[~inside], labels[~inside]
        if not len(enrolled):
            return {}
        templates, identities = gallery_templates(gallery, enrolled)
        rows = gallery_rows(labels, identities)
        found = identification_outcomes(templates, features, rows, labels, chosen, rates, cohort=cohort)
    return _by_name(chosen, found)


def _by_name(metrics: Sequence[Metric], found: Sequence[PersonOutcomes]) -> dict[str, PersonOutcomes]:
    return dict(zip([metric.name for metric in metrics if metric.threshold is not None], found, strict=True))
