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
"""Folder names that ``datasets`` recognizes as parts."""


def is_imagefolder(path: Path) -> bool:
    """Whether a folder or its parts hold a metadata file, or it consists of parts that hold folders."""
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
    """Import a folder in the layout of ``load_dataset("imagefolder")``; identities are sorted by name.

    A metadata file, in the folder or in each part, lists the images in ``file_name`` and their identities in
    ``identity_column`` (default: ``identity``, else ``label``); other images are left out, with one
    :class:`FacesWarning` that counts them. Without one, every part holds a folder per identity. ``part`` selects one
    part (``train``); default: all. :func:`~fedfr.faces.readers.image_rows.import_rows` describes the treatment of
    images of other sizes, bad and repeated rows. Raises :class:`FedfrError` naming file and line.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import cv2
    >>> import numpy as np
    >>> from fedfr.faces import import_imagefolder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = cv2.imwrite(f"{folder}/1.png", np.zeros((112, 112, 3), np.uint8))
    ...     _ = Path(folder, "metadata.csv").write_text("file_name,identity" + chr(10) + "1.png,a")
    ...     import_imagefolder(folder).identities
    ('a',)
    """
    source = Path(path).resolve()
    target = None if dest is None else Path(dest).resolve()
    if not source.is_dir():
        raise FedfrError(f"{path} is not a folder; give one with images and a metadata file, or with parts")
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
        [line.identity for line in listed],
        (),
        [line.name for line in listed],
        [line.file.relative_to(source).as_posix() for line in listed],
        lambda row: listed[row].where,
        contents,
    )
    faces = import_rows(rows, target, progress, skip_bad=skip_bad)
    if others:
        warnings.warn(f"{source}: left out {others} images that are not in the metadata", FacesWarning, stacklevel=2)
    return faces


def _list(source: Path, part: str | None, identity: str | None) -> tuple[list[MetadataEntry], int]:
    """Return the images to import, and the number of other images."""
    if find_metadata(source) and part is not None:
        raise FedfrError(f"{source} has one metadata file and no parts, so no part {part!r}; leave --part out")
    folders = [source] if find_metadata(source) else [folder for folder in _folders(source) if folder.name in PARTS]
    if part is not None:
        present = ", ".join(folder.name for folder in folders)
        folders = [folder for folder in folders if folder.name == part]
        if not folders:
            raise FedfrError(f"{source} has no part {part!r}; it has {present}")
    described = [folder for folder in folders if find_metadata(folder)]
    if described and len(described) < len(folders):
        missing = next(folder for folder in folders if folder not in described)
        raise FedfrError(f"{missing} has no metadata file, {described[0]} has one; write one for each part")
    if not described:
        if identity is not None:
            raise FedfrError(
                f"{source} has no metadata file, its folders are the identities; leave --identity-column out"
            )
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
    """Whether a metadata file lists images, as other data use the name ``metadata.csv`` too; an empty file counts."""
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
