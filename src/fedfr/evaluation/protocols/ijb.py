"""IJB-B and IJB-C: comparisons and searches of templates, each in the published way and in ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.config.schema import EvaluationConfig
from fedfr.evaluation.ijb import gallery_by_gallery, insightface_tar, merged_galleries, pair_scores
from fedfr.evaluation.metrics import Metric
from fedfr.evaluation.verification import tar_at_far
from fedfr.faces.readers.ijb import Searches, TemplatePairs

__all__ = ["IJB_LISTS", "ijb_identification_protocol", "ijb_merged_protocol", "ijb_verification_protocol"]

IJB_LISTS: Mapping[str, str] = {"ijb-1:1": "pairs", "ijb-1:N": "searches", "ijb-1:N-merged": "searches"}
"""Which of the lists of :class:`~fedfr.faces.readers.ijb.IjbFolder` each protocol is called with."""


def ijb_verification_protocol(
    templates: NDArray[np.float64], lists: TemplatePairs, config: EvaluationConfig | None = None
) -> list[Metric]:
    """1:1: TAR at every FAR over the listed comparisons of ``templates`` (T, D), exactly; then as InsightFace reads it.

    Raises :class:`FedfrError` naming the first comparison whose score is NaN.
    """
    config = config or EvaluationConfig()
    scores: NDArray[Any] = pair_scores(templates, lists)
    exact = tar_at_far(scores[lists.same], scores[~lists.same], config.fars)
    return [*exact, *insightface_tar(scores, lists.same, config.fars)]


def ijb_identification_protocol(
    templates: NDArray[np.float64], lists: Searches, config: EvaluationConfig | None = None
) -> list[Metric]:
    """1:N, open set: the mean over the two galleries, then each gallery's own metrics."""
    return gallery_by_gallery(templates, lists, (config or EvaluationConfig()).fpirs)


def ijb_merged_protocol(
    templates: NDArray[np.float64], lists: Searches, config: EvaluationConfig | None = None
) -> list[Metric]:
    """1:N in the published way: both galleries made one, every probe enrolled; no open set."""
    return merged_galleries(templates, lists, (config or EvaluationConfig()).fpirs)
