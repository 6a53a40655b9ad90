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
from fedfr.faces.readers.imagefolder_import import is_imagefolder
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
"""Names of :data:`IMPORTERS` with a test of whether each reads a source; the first match is used."""


def importer_for(source: str | os.PathLike[str]) -> str:
    """Return the name of the importer, a key of :data:`IMPORTERS`, that reads ``source``.

    ``source`` is a path, or the name of an importer without the parameter ``path``, such as ``"orl"``. A path that no
    other importer recognizes is assigned to the importer ``folder``.

    >>> from fedfr.faces import importer_for
    >>> importer_for("orl"), importer_for("train.rec"), importer_for("photos.parquet")
    ('orl', 'recordio', 'parquet')
    """
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
    """Import ``source`` with the importer of that name, by default the one that :func:`importer_for` returns.

    With ``dest`` the set is saved there; ``progress`` is called with the number of images done and of all images.
    ``options`` are passed to the importer. Raises :class:`FedfrError` for an unknown importer, for an option that has
    a value and that the importer does not have, and as the importer does.

    >>> from fedfr.faces import import_faces
    >>> import_faces("orl")
    FaceSet(400 images of 40 identities)
    """
    name = importer or importer_for(source)
    known = inspect.signature(IMPORTERS[name]).parameters
    for option, value in options.items():
        if value and option not in known:
            flag = f"--{option.replace('_', '-')}"
            raise FedfrError(f"{flag} has no effect on {source}, which is read by the importer {name}; leave it out")
    given = {option: value for option, value in options.items() if option in known}
    return import_with(name, source, dest, progress, **given)


def import_with(
    name: str,
    path: str | os.PathLike[str],
    dest: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> FaceSet:
    """Import faces with the importer called ``name``; it is called with those of path, dest and progress that it has.

    The result of an importer of another package is saved to ``dest`` unless the importer has done so.
    Raises :class:`FedfrError` if it does not return a :class:`FaceSet`.
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
    """Open a saved face set, or a RecordIO file without importing it; raises :class:`FedfrError` for anything else.

    >>> import tempfile
    >>> import numpy as np
    >>> from fedfr.faces import FaceSet, load_faces
    >>> faces = FaceSet(np.zeros((2, 112, 112, 3), np.uint8), [0, 1], ["a", "b"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     faces.save(f"{folder}/set")
    ...     loaded = load_faces(f"{folder}/set")
    >>> loaded.identities
    ('a', 'b')
    """
    place = Path(path)
    if not is_face_set(place) and is_recordio(place):
        return IMPORTERS["recordio"](place)
    return FaceSet.load(place)
