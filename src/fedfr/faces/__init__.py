"""Face sets: reading, writing, aligning and splitting face images."""

from __future__ import annotations

from fedfr.faces.alignment.detection import Detector, open_detector
from fedfr.faces.alignment.template import align
from fedfr.faces.faceset import FaceSet
from fedfr.faces.readers import (
    IMPORTERS,
    import_folder,
    import_imagefolder,
    import_orl,
    import_parquet,
    import_recordio,
    import_saved_dataset,
)
from fedfr.faces.readers.aligned_folder import open_folder
from fedfr.faces.readers.choice import import_faces, importer_for, load_faces
from fedfr.faces.readers.image_reading import FacesWarning
from fedfr.faces.readers.pairs.face_pairs import read_pairs
from fedfr.faces.readers.photograph_import import PhotographImport, import_photographs
from fedfr.faces.readers.verification_sets import VerificationSet, read_verification_set, verification_sets
from fedfr.faces.splits.partitioners import split_from_partitions
from fedfr.faces.splits.recipes import SPLITS, make_split
from fedfr.faces.splits.split import ClientFaces, Split
from fedfr.faces.writers import EXPORTERS, export_faces
from fedfr.faces.writers.released_split import export_recordio
from fedfr.faces.writers.verification_set import pack_pairs

__all__ = [
    "EXPORTERS",
    "IMPORTERS",
    "SPLITS",
    "ClientFaces",
    "Detector",
    "FaceSet",
    "FacesWarning",
    "PhotographImport",
    "Split",
    "VerificationSet",
    "align",
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
    "open_detector",
    "open_folder",
    "pack_pairs",
    "read_pairs",
    "read_verification_set",
    "split_from_partitions",
    "verification_sets",
]


def __dir__() -> list[str]:
    return sorted(__all__)
