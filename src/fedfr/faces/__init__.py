"""Faces: uint8 images in memory or memory-mapped, how they come in, and who gets which of them."""

from __future__ import annotations

from fedfr.faces.faceset import FaceSet
from fedfr.faces.importers import IMPORTERS, import_folder, import_orl
from fedfr.faces.importers.images import FacesWarning
from fedfr.faces.split_recipes import SPLITS, make_split
from fedfr.faces.splits import ClientFaces, Split

__all__ = [
    "IMPORTERS",
    "SPLITS",
    "ClientFaces",
    "FaceSet",
    "FacesWarning",
    "Split",
    "import_folder",
    "import_orl",
    "make_split",
]
