"""Reading of IJB-B and IJB-C in InsightFace's layout: images in templates, comparisons, galleries and probes."""

from __future__ import annotations

from fedfr.faces.readers.ijb.benchmark_folder import IjbFolder, find_ijb
from fedfr.faces.readers.ijb.kinds import IJB_KINDS, ORIGIN, IjbKind
from fedfr.faces.readers.ijb.media import IjbImages
from fedfr.faces.readers.ijb.searches import Searches, SearchList
from fedfr.faces.readers.ijb.template_pairs import TemplatePairs

__all__ = [
    "IJB_KINDS",
    "ORIGIN",
    "IjbFolder",
    "IjbImages",
    "IjbKind",
    "SearchList",
    "Searches",
    "TemplatePairs",
    "find_ijb",
]


def __dir__() -> list[str]:
    return sorted(__all__)
