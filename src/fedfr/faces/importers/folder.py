"""Importing a folder of pictures, one sub-folder per identity."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.errors import FedfrError
from fedfr.faces.faceset import FaceSet
from fedfr.faces.importers.images import FacesWarning, Progress, gather, resize
from fedfr.faces.storage import IMAGE_SHAPE, check_destination

__all__ = ["SUFFIXES", "import_folder"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".pgm", ".bmp")


def _visible(folder: Path) -> list[Path]:
    try:
        found = sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda p: p.name)
    except OSError as error:
        raise FedfrError(f"cannot read the folder {folder}: {error.strerror or error}; check the path") from error
    for entry in found:
        try:
            entry.name.encode()
        except UnicodeEncodeError as error:
            raise FedfrError(f"{os.fsencode(entry)!r} has a name that is not UTF-8; rename it") from error
    return found


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def import_folder(
    path: str | os.PathLike[str], dest: str | os.PathLike[str] | None = None, progress: Progress | None = None
) -> FaceSet:
    """Import ``path``/<identity>/<picture>, identities and pictures sorted by name.

    Pictures (jpg, jpeg, png, pgm, bmp in any case; grey or colour) should be aligned and 112x112; others are resized,
    with one :class:`FacesWarning` that counts them. Hidden files are passed over; other files, deeper folders and
    identities without pictures are left out, with one warning that counts them. With ``dest`` the set is written
    there and memory-mapped, so that memory stays bounded; ``progress`` is called with images done and images in all.
    Raises :class:`FedfrError` for a missing or empty folder and for a picture that cannot be read, naming it.
    """
    source = Path(path).resolve()
    if not source.is_dir():
        raise FedfrError(f"{path} is not a folder; give one with a sub-folder of pictures for each identity")
    target = None if dest is None else Path(dest).resolve()
    if target is not None:
        if target.is_relative_to(source) or source.is_relative_to(target):
            raise FedfrError(f"dest {target} and the pictures in {source} lie one in the other; choose another dest")
        check_destination(target)

    files: list[Path] = []
    labels: list[int] = []
    identities: list[str] = []
    others = empty = 0
    for folder in _visible(source):
        if not folder.is_dir():
            others += 1
            continue
        entries = _visible(folder)
        pictures = [entry for entry in entries if entry.suffix.lower() in SUFFIXES and not entry.is_dir()]
        others += len(entries) - len(pictures)
        if not pictures:
            empty += 1
            continue
        labels += [len(identities)] * len(pictures)
        identities.append(folder.name)
        files += pictures
    if not files:
        raise FedfrError(
            f"{source} has no pictures in sub-folders; expected <identity>/<picture> with one of {' '.join(SUFFIXES)}"
        )

    resized = 0

    def fit(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        nonlocal resized
        resized += image.shape != IMAGE_SHAPE
        return resize(image)

    names = [file.relative_to(source).as_posix() for file in files]
    faces = gather(files, labels, identities, names, fit, target, progress)
    if resized:
        pictures_were = _count(resized, "picture was", "pictures were")
        warnings.warn(
            f"{pictures_were} not 112x112 and resized without alignment; align faces first for full accuracy",
            FacesWarning,
            stacklevel=2,
        )
    if others or empty:
        left = [
            _count(number, one, many)
            for number, one, many in (
                (others, "other file or deeper folder", "other files or deeper folders"),
                (empty, "identity folder without pictures", "identity folders without pictures"),
            )
            if number
        ]
        warnings.warn(f"{source}: left out {' and '.join(left)}", FacesWarning, stacklevel=2)
    return faces
