"""Faces of a configuration: a saved set, an import into the run's folder, or several of these combined."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedfr.audit.people_in_sets import people_finder
from fedfr.config.schema import FacesConfig, FaceSource
from fedfr.core.errors import FedfrError
from fedfr.core.named_objects import parameters_of
from fedfr.faces import IMPORTERS, FaceSet
from fedfr.faces.face_sets import NamedSet, combine
from fedfr.faces.identity_lists import read_identities
from fedfr.faces.readers.choice import import_with
from fedfr.faces.storage import PIXEL_FILES, is_face_set

__all__ = ["FACE_SETS", "open_face_sets", "open_source"]

FACE_SETS = "face_sets"
"""Folder of the imported sets, beside the combined set."""

Counter = Callable[[int, int], None]


def open_source(source: str, path: str | None, cache: Path, on_import: Counter | None, setting: str) -> FaceSet:
    """Return one face set: the saved set at ``path``, or faces imported once into ``cache``.

    ``setting``: the settings' name for messages, ``faces`` or ``faces.public``.
    """
    if path is not None and is_face_set(path):
        return FaceSet.load(path)
    if is_face_set(cache):
        return FaceSet.load(cache)
    # Pixels without their description are leftovers of an interrupted import, which is repeated.
    for left in PIXEL_FILES:
        (cache / left).unlink(missing_ok=True)
    if path is None and "path" in parameters_of(IMPORTERS[source]):
        raise FedfrError(f"{setting}.path is missing; the {source} source needs the folder with the faces")
    return import_with(source, path or "", cache, on_import)


def open_face_sets(faces: FacesConfig, cache: Path, on_import: Counter | None) -> FaceSet:
    """Return several face sets combined, saved in ``cache`` as links; sets that need it are imported beside it once.

    Raises :class:`FedfrError` that names the set for anything wrong with one, and for persons in two of them.
    """
    if is_face_set(cache):
        return FaceSet.load(cache)
    find = None if faces.compare_with is None else people_finder(faces.compare_with)
    place = cache.resolve().parent / FACE_SETS
    sets = [_named(name, role, own, place / name, on_import) for name, role, own in faces.sets]
    for left in PIXEL_FILES:
        (cache / left).unlink(missing_ok=True)
    return combine(sets, cache, overlap=faces.overlap, same_people=find)


def _named(name: str, role: str, own: FaceSource, cache: Path, on_import: Counter | None) -> NamedSet:
    setting = f"faces.{role}"
    try:
        opened = open_source(own.source, own.path, cache, on_import, setting)
        excluded = () if own.exclude is None else read_identities(own.exclude, opened.identities)
    except FedfrError as error:
        raise type(error)(f"face set {name!r} ({setting}): {error}") from error
    return NamedSet(name, role, opened, dict.fromkeys(excluded, Path(own.exclude or "").name))
