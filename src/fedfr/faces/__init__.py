"""Faces: uint8 images in memory or memory-mapped, how they come in, and who gets which of them."""

from __future__ import annotations

from fedfr.faces.exporters import EXPORTERS, export_faces
from fedfr.faces.faceset import FaceSet
from fedfr.faces.importers import (
    IMPORTERS,
    import_folder,
    import_imagefolder,
    import_orl,
    import_parquet,
    import_recordio,
    import_saved_dataset,
)
from fedfr.faces.importers.choice import import_faces, importer_for, load_faces
from fedfr.faces.importers.images import FacesWarning
from fedfr.faces.importers.photographs import PhotographImport, import_photographs
from fedfr.faces.pair_packing import pack_pairs
from fedfr.faces.partitioners import split_from_partitions
from fedfr.faces.picture_files import open_folder
from fedfr.faces.recordio.export import export_recordio
from fedfr.faces.split_recipes import SPLITS, make_split
from fedfr.faces.splits import ClientFaces, Split
from fedfr.faces.verification_sets import VerificationSet, read_verification_set, verification_sets

__all__ = [
    "EXPORTERS",
    "IMPORTERS",
    "SPLITS",
    "ClientFaces",
    "FaceSet",
    "FacesWarning",
    "PhotographImport",
    "Split",
    "VerificationSet",
    "export_faces",
    "export_recordio",
    "import_faces",
    "import_folder",
    "import_imagefolder",
    "import_orl",
    "import_parquet",
    "import_photographs",
    "import_recordio",
    "import_saved_dataset",
    "importer_for",
    "load_faces",
    "make_split",
    "open_folder",
    "pack_pairs",
    "read_verification_set",
    "split_from_partitions",
    "verification_sets",
]


def __dir__() -> list[str]:
    return sorted(__all__)
