"""IJB-B and IJB-C protocols: comparisons and searches of templates, exactly and as InsightFace computes them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedfr.config.schema import EvaluationConfig
from fedfr.evaluation.ijb import gallery_by_gallery, merged_galleries, verify_templates
from fedfr.evaluation.metrics import Metric
from fedfr.faces.readers.ijb import Searches, TemplatePairs

__all__ = ["IJB_LISTS", "ijb_identification_protocol", "ijb_merged_protocol", "ijb_verification_protocol"]

IJB_LISTS: Mapping[str, str] = {"ijb-1:1": "pairs", "ijb-1:N": "searches", "ijb-1:N-merged": "searches"}
"""The list of :class:`~fedfr.faces.readers.ijb.IjbFolder` that each protocol is called with."""


def ijb_verification_protocol(
    templates: NDArray[np.float64], lists: TemplatePairs, config: EvaluationConfig | None = None
) -> list[Metric]:
    """Return TAR at every FAR over the listed comparisons of ``templates`` (T, D), see :func:`verify_templates`."""
    config = config or EvaluationConfig()
    return verify_templates(templates, lists.left, lists.right, lists.same, config.fars)


def ijb_identification_protocol(
    templates: NDArray[np.float64], lists: Searches, config: EvaluationConfig | None = None
) -> list[Metric]:
    """Return the open-set 1:N metrics: the mean over the two galleries, then those of each gallery."""
    return gallery_by_gallery(templates, lists, (config or EvaluationConfig()).fpirs)


def ijb_merged_protocol(
    templates: NDArray[np.float64], lists: Searches, config: EvaluationConfig | None = None
) -> list[Metric]:
    """Return the 1:N metrics of the merged galleries, in which every probe is enrolled, as papers report them."""
    return merged_galleries(templates, lists, (config or EvaluationConfig()).fpirs)
