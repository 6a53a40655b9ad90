"""Choice of the importer for a source, and opening of face sets in any form."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.core.named_objects import is_dotted, parameters_of
from fedfr.faces.faceset import FaceSet
from fedfr.faces.readers import IMPORTERS
from fedfr.faces.readers.huggingface import is_parquet, is_saved_dataset
from fedfr.faces.readers.image_reading import Progress
from fedfr.faces.readers.imagefolder import is_imagefolder
from fedfr.faces.readers.recordio.recordio_files import is_recordio
from fedfr.faces.storage import is_face_set

__all__ = ["import_faces", "import_with", "importer_for", "load_faces"]

RECOGNIZERS: tuple[tuple[str, Callable[[str | os.PathLike[str]], bool]], ...] = (
    ("orl", lambda source: source == "orl"),
    ("recordio", lambda source: is_recordio(Path(source))),
    ("saved-dataset", lambda source: is_saved_dataset(Path(source))),
    ("imagefolder", lambda source: is_imagefolder(Path(source))),
    ("parquet", lambda source: is_parquet(Path(source))),
    ("folder", lambda source: True),
)
"""Names of :data:`IMPORTERS`, and what each recognizes; the first that does is taken."""


def importer_for(source: str | os.PathLike[str]) -> str:
    """Return the name of the importer that reads ``source``: a path, or the name of an importer that needs none."""
    if isinstance(source, str) and not os.path.lexists(source) and (source in IMPORTERS or is_dotted(source)):
        importer = IMPORTERS[source]
        if "path" not in parameters_of(importer):
            return source
    return next(name for name, recognizes in RECOGNIZERS if recognizes(source))


def import_faces(
    source: str | os.PathLike[str],
    dest: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    *,
    importer: str | None = None,
    **options: Any,
) -> FaceSet:
    """Import ``source`` with the importer of that name, or else the one that reads it, and ``options`` that it has.

    Raises :class:`FedfrError` for an unknown importer, and if an option is given that only another importer has.
    """
    name = importer or importer_for(source)
    known = inspect.signature(IMPORTERS[name]).parameters
    for option, value in options.items():
        if value and option not in known:
            flag = f"--{option.replace('_', '-')}"
            raise FedfrError(f"{flag} means nothing for {source}, which is read by the importer {name}; leave it out")
    given = {option: value for option, value in options.items() if option in known}
    return import_with(name, source, dest, progress, **given)


def import_with(
    name: str,
    path: str | os.PathLike[str],
    dest: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> FaceSet:
    """Import faces with the importer ``name``, which is called with those of path, dest and progress that it takes.

    What an importer of another package returns is saved to ``dest`` where it did not do so itself.
    Raises :class:`FedfrError` when it returns anything but a :class:`FaceSet`.
    """
    importer = IMPORTERS[name]
    given = {"path": path, "dest": dest, "progress": progress}
    known = inspect.signature(importer).parameters
    faces = importer(**{key: value for key, value in given.items() if key in known}, **options)
    if name in IMPORTERS.builtin:
        return faces
    if not isinstance(faces, FaceSet):
        raise FedfrError(f"importer {name!r} returned a {type(faces).__name__}; let it return a fedfr.FaceSet")
    if dest is None or is_face_set(dest):
        return faces
    faces.save(dest)
    return FaceSet.load(dest)


def load_faces(path: str | os.PathLike[str]) -> FaceSet:
    """Open a saved set, or a RecordIO file as it lies; raises :class:`FedfrError` for anything else."""
    place = Path(path)
    if not is_face_set(place) and is_recordio(place):
        return IMPORTERS["recordio"](place)
    return FaceSet.load(place)
