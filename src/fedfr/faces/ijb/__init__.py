"""IJB-B and IJB-C as InsightFace lays them out: images in templates, comparisons, galleries and probes."""

from __future__ import annotations

from fedfr.faces.ijb.folder import IjbFolder, find_ijb
from fedfr.faces.ijb.images import IjbImages
from fedfr.faces.ijb.kinds import KINDS, ORIGIN, IjbKind
from fedfr.faces.ijb.pairs import TemplatePairs
from fedfr.faces.ijb.searches import Searches, SearchList

__all__ = [
    "KINDS",
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
