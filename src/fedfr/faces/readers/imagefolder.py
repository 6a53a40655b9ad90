"""Import of an ``imagefolder``: images with a metadata file, or parts (train, test) with a folder per identity."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_file
from fedfr.faces.faceset import FaceSet
from fedfr.faces.readers.image_reading import FacesWarning, Progress
from fedfr.faces.readers.image_rows import import_rows, make_image_rows
from fedfr.faces.readers.listing import SUFFIXES, check_apart, visible
from fedfr.faces.readers.metadata import METADATA, MetadataEntry, find_metadata, read_metadata
from fedfr.faces.storage import check_destination

__all__ = ["import_imagefolder", "is_imagefolder"]

PARTS = ("train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation")
"""Names by which ``datasets`` knows a part."""


def is_imagefolder(path: Path) -> bool:
    """Whether a metadata file lies in the folder or its parts, or it holds nothing but parts with folders in them."""
    try:
        if not path.is_dir():
            return False
        folders = _folders(path)
        parts = [folder for folder in folders if folder.name in PARTS]
        if any(_names_files(folder / name) for folder in (path, *parts) for name in METADATA.names):
            return True
        return bool(folders) and all(folder.name in PARTS and _folders(folder) for folder in folders)
    except OSError:
        return False


def import_imagefolder(
    path: str | os.PathLike[str],
    dest: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    *,
    part: str | None = None,
    identity_column: str | None = None,
    skip_bad: bool = False,
) -> FaceSet:
    """Import a folder as ``load_dataset("imagefolder")`` reads it, all its parts or one, identities by name.

    Where a metadata file lies – beside the parts or in each –, it says by ``file_name`` which images there are, and
    by ``identity`` (or ``label``) who is on them; others are left out, with one :class:`FacesWarning` that counts them.
    Without one, every part holds a folder per identity. For the rest see
    :func:`~fedfr.faces.readers.image_rows.import_rows`. Raises :class:`FedfrError` naming file and line.
    """
    source = Path(path).resolve()
    target = None if dest is None else Path(dest).resolve()
    if not source.is_dir():
        raise FedfrError(f"{path} is not a folder; give one with images and their metadata, or with parts")
    if target is not None:
        check_apart(source, target)
        check_destination(target)
    try:
        listed, others = _list(source, part, identity_column)
    except OSError as error:
        raise FedfrError(f"cannot read {source}: {error.strerror or error}; check the folder") from error

    def contents() -> Iterator[bytes | str]:
        for line in listed:
            try:
                yield read_file(line.file) or "is empty"
            except OSError as error:
                yield f"cannot be read ({error.strerror or error})"

    rows = make_image_rows(
        source,
        [line.person for line in listed],
        (),
        [line.name for line in listed],
        [line.file.relative_to(source).as_posix() for line in listed],
        lambda row: listed[row].where,
        contents,
    )
    faces = import_rows(rows, target, progress, skip_bad=skip_bad)
    if others:
        warnings.warn(f"{source}: left out {others} images that no metadata names", FacesWarning, stacklevel=2)
    return faces


def _list(source: Path, part: str | None, identity: str | None) -> tuple[list[MetadataEntry], int]:
    """Every image that counts, and how many do not."""
    if find_metadata(source) and part is not None:
        raise FedfrError(f"{source} has one metadata file for all its images, no part {part!r}; leave --part out")
    folders = [source] if find_metadata(source) else [folder for folder in _folders(source) if folder.name in PARTS]
    if part is not None:
        there = ", ".join(folder.name for folder in folders)
        folders = [folder for folder in folders if folder.name == part]
        if not folders:
            raise FedfrError(f"{source} has no part {part!r}; it has {there}")
    described = [folder for folder in folders if find_metadata(folder)]
    if described and len(described) < len(folders):
        bare = next(folder for folder in folders if folder not in described)
        raise FedfrError(f"{bare} has no metadata file, {described[0]} has one; write one for each part")
    if not described:
        if identity is not None:
            raise FedfrError(f"{source} has no metadata, folders say who is on an image; leave --identity-column out")
        listed = [line for folder in folders for line in _by_folder(folder)]
        if not listed:
            raise FedfrError(f"{source} has no images in <part>/<identity>/; expected some of {' '.join(SUFFIXES)}")
        return listed, 0
    listed = []
    for folder in described:
        metadata = find_metadata(folder)
        listed += read_metadata(metadata, identity) if metadata else []
    known = {line.file for line in listed}
    others = sum(
        file.suffix.lower() in SUFFIXES and file not in known for folder in described for file in folder.rglob("*")
    )
    return listed, others


def _names_files(metadata: Path) -> bool:
    """Whether it is about images: other things are called ``metadata.csv`` too. An empty one may have been."""
    if not metadata.is_file():
        return False
    with metadata.open("rb") as file:
        start = file.read(1 << 16)
    return not start or metadata.suffix == ".parquet" or b"file_name" in start


def _by_folder(part: Path) -> Iterator[MetadataEntry]:
    for folder in _folders(part):
        for file in visible(folder):
            if file.suffix.lower() in SUFFIXES:
                yield MetadataEntry(file, folder.name, f"{folder.name}/{part.name}/{file.name}", f"{file}")


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in visible(folder) if entry.is_dir()]
