"""Erasure of people from stored face sets: images, names and lists, so that no file of a set holds a trace."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.files import move_folder, read_json, write_atomically
from fedfr.faces.array_columns import ImageIndices
from fedfr.faces.face_sets import NamedSet, combine, original_name
from fedfr.faces.faceset import FaceSet
from fedfr.faces.index_ranges import format_ranges, parse_ranges
from fedfr.faces.joined_pixels import SetPart
from fedfr.faces.name_mentions import Mentions
from fedfr.faces.set_links import linked_sets
from fedfr.faces.splits.split import Split
from fedfr.faces.splits.split_parts import ClientFaces
from fedfr.faces.storage import IMAGE_SHAPE, PIXEL_FILES

__all__ = [
    "SET_FILES",
    "SetErasure",
    "check_replaceable",
    "erase_from_set",
    "erase_from_split",
    "find_person",
    "is_staged",
    "remove_staged",
    "stage",
]

DESCRIPTION = "faces.json"
SET_FILES = (*PIXEL_FILES, DESCRIPTION)
"""Files of a face set without its lists."""


@dataclass(frozen=True)
class SetErasure:
    """What is erased from the face set in ``folder``, whose fingerprint is ``before`` until it is done.

    ``removed``: ranges of the ``total`` images. ``identities``: the person's names in this set. ``identical``: number
    of the removed images that other identities have, but that are identical to an image of the person. ``vanished``:
    all identities of which no image is left. ``source``: RecordIO file with the images, which is not changed, or empty.
    """

    folder: str
    before: str
    total: int
    removed: str
    identities: tuple[str, ...]
    identical: int
    vanished: tuple[str, ...]
    source: str

    def rows(self) -> NDArray[np.int64]:
        """Return the indices of the removed images, ascending."""
        return parse_ranges(self.removed)


def find_person(sets: Mapping[Path, FaceSet], is_person: Callable[[str], bool]) -> list[SetErasure]:
    """Return what has to be erased from each set: the person's images, and images that are identical to one of them.

    Identical images are searched in all sets: a copy under another name shows the person, too. A combined set comes
    after its parts, and also if only one of these has the person.
    """
    labels = {folder: _labels_of(faces, is_person) for folder, faces in sets.items()}
    own = {folder: np.isin(faces.labels, labels[folder]) for folder, faces in sets.items()}
    known = {digest for folder, faces in sets.items() for digest in faces.digests().take(np.flatnonzero(own[folder]))}
    found: list[SetErasure] = []
    for folder, faces in sorted(sets.items(), key=lambda each: bool(each[1].sets)):
        same = np.fromiter((digest in known for digest in faces.digests()), np.bool_, len(faces))
        rows = np.flatnonzero(own[folder] | same)
        parts = {str(place) for _, place in linked_sets(folder)}
        if not len(rows) and parts.isdisjoint(each.folder for each in found):
            continue
        gone = np.bincount(faces.labels[rows], minlength=faces.num_identities)
        vanished = np.flatnonzero((gone > 0) & (gone == faces.counts()))
        found.append(
            SetErasure(
                str(folder),
                faces.fingerprint(),
                len(faces),
                format_ranges(rows.tolist()),
                tuple(faces.identities[label] for label in labels[folder]),
                int((same & ~own[folder]).sum()),
                tuple(faces.identities[label] for label in vanished.tolist()),
                _source_of(folder),
            )
        )
    return found


def _source_of(folder: Path) -> str:
    path = folder / "records.json"
    return str(read_json(path)["file"]) if path.is_file() else ""


def _labels_of(faces: FaceSet, is_person: Callable[[str], bool]) -> list[int]:
    return [
        label
        for label, name in enumerate(faces.identities)
        if is_person(name) or (faces.sets and is_person(original_name(name)))
    ]


def erase_from_set(erasure: SetErasure, mentions: Mentions) -> None:
    """Replace the stored set by one without the removed images, and its lists by ones without the names.

    A set whose images are in a RecordIO file has its own copy of the others afterwards. A combined set is linked again:
    its parts have to be done before. Repeating it after an interruption at any step completes it.
    """
    folder = Path(erasure.folder)
    staged, old = _staged(folder), _old(folder)
    if not folder.exists():
        move_folder(staged if staged.exists() else old, folder)
    if read_json(folder / DESCRIPTION)["fingerprint"] == erasure.before:
        stage(erasure, mentions)
        if old.exists():
            shutil.rmtree(old)
        move_folder(folder, old)
        move_folder(staged, folder)
    remove_staged(folder)


def check_replaceable(folder: Path) -> None:
    """Raise :class:`FedfrError` if a set's folder cannot be replaced by another one."""
    if os.path.ismount(folder) or not os.access(folder.parent, os.W_OK):
        raise FedfrError(
            f"{folder} cannot be replaced by a set without the person: it is a mount point, or {folder.parent} cannot "
            "be written; mount the folder above it, and call the command as the owner of the faces"
        )


def is_staged(folder: Path) -> bool:
    """Whether an interrupted erasure left something beside a set."""
    return folder.parent.is_dir() and bool(_beside(folder))


def stage(erasure: SetErasure, mentions: Mentions) -> None:
    """Write the new set beside the old one, if it is not there yet; a full disk is noticed before anything is erased.

    Raises :class:`FedfrError` as :meth:`FaceSet.save` does.
    """
    folder = Path(erasure.folder)
    staged = _staged(folder)
    if staged.exists():
        # Complete, because it is renamed into place, and of this erasure, because others remove it first.
        return
    work = staged.with_name(f"{staged.name}.tmp")
    shutil.rmtree(work, ignore_errors=True)
    links = linked_sets(folder)
    if links:
        _combine_again(links, work)
    else:
        faces = FaceSet.load(folder)
        faces.subset(np.delete(np.arange(erasure.total), erasure.rows())).save(work)
    for path in sorted(folder.iterdir()):
        # A file that is no list, such as a contact sheet, may show the person.
        kept = None if path.name in SET_FILES or not path.is_file() else mentions.without_entries(path)
        if kept is not None:
            write_atomically(work / path.name, kept[0])
    for path in (*work.iterdir(), work):
        former = folder if path == work else folder / path.name
        shutil.copymode(former if former.exists() else folder / DESCRIPTION, path)
    move_folder(work, staged)


def remove_staged(folder: Path) -> None:
    """Remove what an interrupted erasure left beside a set."""
    for place in _beside(folder):
        shutil.rmtree(place)


def erase_from_split(path: Path, erasure: SetErasure) -> None:
    """Rewrite a split of the set before the erasure for the set as it is now; another split is left as it is."""
    split = Split.load(path)
    if split.faces_fingerprint != erasure.before:
        return
    faces = FaceSet.load(erasure.folder)
    new_index = np.full(erasure.total, -1, np.int64)
    kept = np.delete(np.arange(erasure.total), erasure.rows())
    new_index[kept] = np.arange(len(kept))

    def again(images: Sequence[int]) -> ImageIndices:
        moved = new_index[np.asarray(images, np.int64)]
        return ImageIndices(moved[moved >= 0])

    pairs = [(int(new_index[one]), int(new_index[other])) for one, other in split.pairs]
    gone, mode = {*erasure.identities, *erasure.vanished}, path.stat().st_mode
    changed = replace(
        split,
        faces_fingerprint=faces.fingerprint(),
        public=again(split.public),
        generic=again(split.generic),
        distractors=again(split.distractors),
        strangers=again(split.strangers),
        clients={
            client: ClientFaces(again(images.train), again(images.test), images.elsewhere)
            for client, images in split.clients.items()
        },
        pairs=tuple(pair for pair in pairs if min(pair) >= 0),
        left_out=tuple(each for each in split.left_out if each.identity not in gone),
        lost_identities=tuple(name for name in split.lost_identities if name not in gone),
    )
    changed.describe(faces).save(path)
    path.chmod(mode)


def _staged(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.remaining")


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.erased")


def _beside(folder: Path) -> list[Path]:
    """Return the folders that an erasure has made beside a set."""
    made = re.compile(rf"\.+{re.escape(folder.name)}\.(erased|remaining)(\.tmp(\.\d+\.tmp)?)?")
    return [place for place in sorted(folder.parent.iterdir()) if made.fullmatch(place.name)]


def _combine_again(links: Sequence[tuple[SetPart, Path]], dest: Path) -> None:
    """Combine the sets of a combined set as before; identities that they no longer have are not listed as left out."""
    parts = []
    for part, place in links:
        faces = FaceSet.load(place)
        left_out = {name: reason for name, reason in part.left_out.items() if name in faces.identities}
        if len(left_out) < faces.num_identities:
            parts.append(NamedSet(part.name, part.role, faces, left_out))
    if parts:
        combine(parts, dest, overlap="keep")
    else:
        FaceSet(np.empty((0, *IMAGE_SHAPE), np.uint8), [], []).save(dest)
