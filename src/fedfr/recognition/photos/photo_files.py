"""Photo files named by paths, folders and patterns."""

from __future__ import annotations

from collections.abc import Iterable
from glob import glob
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.faces.readers.listing import SUFFIXES

__all__ = ["PHOTO_SUFFIXES", "photo_file", "photo_files"]

PHOTO_SUFFIXES = (*SUFFIXES, ".webp")
"""Suffixes of the files that are taken from a folder."""


def photo_files(named: Iterable[str | Path]) -> list[Path]:
    """Return the files that ``named`` stands for, each once, in this order.

    A folder stands for all images in it and in its sub-folders, sorted by name, without hidden files; a pattern with
    ``*``, ``?`` or ``[…]`` for the files it matches, if no file has this name. Raises :class:`FedfrError` for a path
    that does not exist, and for a folder or pattern without images.
    """
    found: dict[Path, None] = {}
    for given in map(str, named):
        found |= dict.fromkeys(_expand(given))
    if not found:
        raise FedfrError("no photo is given; name files or folders")
    return list(found)


def photo_file(named: str | Path) -> Path:
    """Return the path of one photo; raises :class:`FedfrError` if there is none, or if it is a folder."""
    path = Path(named)
    if path.is_dir():
        raise FedfrError(f"{path} is a folder; name one photo")
    if not path.exists():
        raise FedfrError(f"there is no photo {path}; check the path")
    return path


def _expand(given: str) -> list[Path]:
    path = Path(given)
    if path.is_dir():
        files = _images_in(path)
        if not files:
            raise FedfrError(f"{path} holds no image ({' '.join(sorted(PHOTO_SUFFIXES))}); name a folder of photos")
        return files
    if path.exists():
        return [path]
    matches = sorted(glob(given, recursive=True)) if any(sign in given for sign in "*?[") else []  # noqa: PTH207
    if not matches:
        raise FedfrError(f"there is no photo {given}; check the path")
    files = [file for match in map(Path, matches) for file in (_images_in(match) if match.is_dir() else [match])]
    if not files:
        raise FedfrError(f"no image matches {given}; check the pattern")
    return files


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in PHOTO_SUFFIXES and file.is_file()
        if not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
