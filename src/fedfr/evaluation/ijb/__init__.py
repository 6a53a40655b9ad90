"""What only IJB asks for: templates of several media, its published way to read a curve, its two galleries."""

from __future__ import annotations

from fedfr.evaluation.ijb.roc import insightface_tar
from fedfr.evaluation.ijb.search import gallery_by_gallery, merged_galleries
from fedfr.evaluation.ijb.template_comparisons import pair_scores
from fedfr.evaluation.ijb.templates import TemplateSums

__all__ = ["TemplateSums", "gallery_by_gallery", "insightface_tar", "merged_galleries", "pair_scores"]


def __dir__() -> list[str]:
    return sorted(__all__)
