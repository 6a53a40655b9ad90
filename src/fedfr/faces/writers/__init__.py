"""Exporters: functions that write a face set as files for other tools."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_folder_atomically
from fedfr.core.registry import Entry, Registry
from fedfr.faces.faceset import FaceSet
from fedfr.faces.storage import check_destination
from fedfr.faces.writers.imagefolder import write_imagefolder
from fedfr.faces.writers.parquet import write_parquet

__all__ = ["EXPORTERS", "export_faces"]


def __dir__() -> list[str]:
    return sorted(__all__)


Progress = Callable[[int, int], None]
Write = Callable[[FaceSet, Path, Progress], int]
"""Writes into an empty folder and returns the number of files."""

EXPORTERS: Registry[Write] = Registry(
    "format",
    (
        Entry("parquet", write_parquet, 'Parquet files for datasets.load_dataset("parquet", data_dir=…)'),
        Entry("imagefolder", write_imagefolder, 'PNG files for datasets.load_dataset("imagefolder", data_dir=…)'),
    ),
)


def export_faces(
    faces: FaceSet, dest: str | os.PathLike[str], file_format: str, progress: Progress | None = None
) -> dict[str, int]:
    """Write all images as lossless PNG with columns ``image``, ``identity`` and ``name``, in the order of the set.

    ``file_format`` is a key of :data:`EXPORTERS`, ``parquet`` or ``imagefolder``. Returns the numbers of images,
    identities and files. ``dest`` is written atomically. Raises :class:`FedfrError` for an empty set and if ``dest``
    holds files.

    >>> import tempfile
    >>> import numpy as np
    >>> from fedfr.faces import FaceSet, export_faces
    >>> faces = FaceSet(np.zeros((2, 112, 112, 3), np.uint8), [0, 1], ["a", "b"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_faces(faces, f"{folder}/exported", "imagefolder")
    {'images': 2, 'identities': 2, 'files': 3}
    """
    write = EXPORTERS[file_format]
    target = Path(dest).resolve()
    check_destination(target)
    if not len(faces):
        raise FedfrError("these faces hold no images; there is nothing to export")
    files = 0

    def fill(folder: Path) -> None:
        nonlocal files
        files = write(faces, folder, progress or (lambda done, total: None))

    write_folder_atomically(target, fill)
    return {"images": len(faces), "identities": faces.num_identities, "files": files}
