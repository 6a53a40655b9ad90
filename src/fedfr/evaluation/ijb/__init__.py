"""IJB-specific evaluation: templates of several media, InsightFace's reading of the ROC curve, two galleries."""

from __future__ import annotations

from fedfr.evaluation.ijb.roc import insightface_tar
from fedfr.evaluation.ijb.search import gallery_by_gallery, merged_galleries
from fedfr.evaluation.ijb.template_comparisons import comparison_scores, verify_templates
from fedfr.evaluation.ijb.templates import TemplateSums, media_templates

__all__ = [
    "TemplateSums",
    "comparison_scores",
    "gallery_by_gallery",
    "insightface_tar",
    "media_templates",
    "merged_galleries",
    "verify_templates",
]


def __dir__() -> list[str]:
    return sorted(__all__)
