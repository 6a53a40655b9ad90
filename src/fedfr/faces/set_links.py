"""Storage of combined face sets as links to their sets, which are checked when opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, write_json
from fedfr.faces.faceset import FaceSet
from fedfr.faces.joined_pixels import JoinedPixels, SetPart
from fedfr.faces.storage import DIGESTS, is_face_set, save_digests, write_linked_faces

__all__ = ["linked_sets", "open_sets", "save_links"]

SETS = "sets.json"
FORMAT = "fedfr-sets"
VERSION = 1


def save_links(whole: FaceSet, sets: Sequence[FaceSet], dest: Path) -> FaceSet:
    """Write the combined set ``whole`` as links to its sets and open it; the path of a set beside it is relative."""
    links = []
    for part, each in zip(whole.sets, sets, strict=True):
        if each.folder is None:
            raise FedfrError(f"face set {part.name!r} is in memory only; import it with `fedfr faces import` first")
        is_beside = each.folder.is_relative_to(dest.parent)
        path = os.path.relpath(each.folder, dest) if is_beside else str(each.folder)
        links.append({**part.to_dict(), "folder": path})

    def link(folder: Path) -> None:
        save_digests(folder / DIGESTS, whole.digests())
        write_json(folder / SETS, {"format": FORMAT, "version": VERSION, "sets": links})

    write_linked_faces(dest, whole.labels, whole.identities, whole.names, whole.digests(), link, "sets")
    return FaceSet.load(dest)


def linked_sets(folder: Path) -> list[tuple[SetPart, Path]]:
    """Return the parts of a stored combined set with the folders of their sets; empty for a single set.

    Raises :class:`FedfrError` if the list of sets is damaged.
    """
    if not (folder / SETS).is_file():
        return []
    content = read_json(folder / SETS)
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
        raise FedfrError(f"{folder / SETS} does not list face sets; combine the face sets again")
    try:
        return [
            (SetPart.from_dict(each), Path(os.path.normpath(folder / str(each["folder"])))) for each in content["sets"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FedfrError(
            f"{folder / SETS} has a missing or invalid entry ({error!r}); combine the face sets again"
        ) from error


def open_sets(folder: Path) -> JoinedPixels:
    """Open the sets of a stored combined set.

    Raises :class:`FedfrError` naming the set that is missing, damaged, or has other faces than when it was combined.
    """
    if not (folder / SETS).is_file():
        raise FedfrError(f"{folder / SETS} does not exist; check the path")
    linked = linked_sets(folder)
    parts = [part for part, _ in linked]
    starts = np.cumsum([0, *(part.images for part in parts)]).tolist()
    sets, own = [], []
    for (part, place), start in zip(linked, starts, strict=False):
        faces = _open(part, place, folder / SETS)
        omitted = np.array([identity in part.left_out for identity in faces.identities], np.bool_)
        kept = np.flatnonzero(~omitted[faces.labels]).astype(np.int64) if omitted.any() else None
        if part.start != start or (len(faces) if kept is None else len(kept)) != part.images:
            raise FedfrError(f"{folder / SETS} does not match face set {part.name!r}; combine the face sets again")
        sets.append(faces)
        own.append(kept)
    return JoinedPixels(parts, sets, own)


def _open(part: SetPart, place: Path, links: Path) -> FaceSet:
    if not is_face_set(place):
        raise FedfrError(f"face set {part.name!r} is not in {place}; restore it, or set its `folder` in {links}")
    try:
        faces = FaceSet.load(place)
    except FedfrError as error:
        raise FedfrError(f"face set {part.name!r}: {error}") from error
    if faces.fingerprint() != part.fingerprint:
        raise FedfrError(
            f"face set {part.name!r} in {place} has other faces than before (fingerprint {faces.fingerprint()[:12]}, "
            f"expected {part.fingerprint[:12]}); restore its faces, or start again"
        )
    return faces
