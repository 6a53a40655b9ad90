"""Listing of the images in a folder with one sub-folder per identity."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fedfr.core.errors import FedfrError

__all__ = ["SUFFIXES", "ImageListing", "check_apart", "find_source", "list_images", "visible"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".pgm", ".bmp")


@dataclass(frozen=True)
class ImageListing:
    """Images in order, each with a label that indexes ``identities`` and a name, its path relative to the folder.

    ``others`` names files that are not images and nested folders; ``broken`` those of them that have an image suffix
    but are dangling links, pipes, sockets or devices; ``empty`` names identities without images.
    """

    files: tuple[Path, ...]
    labels: tuple[int, ...]
    identities: tuple[str, ...]
    names: tuple[str, ...]
    others: tuple[str, ...]
    empty: tuple[str, ...]
    broken: tuple[str, ...] = ()


def find_source(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a folder; raises :class:`FedfrError` if it is not a folder."""
    source = Path(path).resolve()
    if not source.is_dir():
        raise FedfrError(f"{path} is not a folder; give one with a sub-folder of images for each identity")
    return source


def check_apart(source: Path, target: Path) -> None:
    """Raise :class:`FedfrError` if one of the two folders is inside the other."""
    if target.is_relative_to(source) or source.is_relative_to(target):
        raise FedfrError(f"dest {target} and the images in {source} are inside one another; choose another dest")


def list_images(source: Path, *, readable: bool = False, suffixes: Collection[str] = SUFFIXES) -> ImageListing:
    """List all ``source``/<identity>/<image>, identities and images sorted by name; hidden files are skipped.

    With ``readable`` only regular files and links to them are included. ``suffixes``: those of images.
    Raises :class:`FedfrError` if there are none, if a folder cannot be read, and for a name that is not UTF-8.
    """
    files: list[Path] = []
    labels: list[int] = []
    identities: list[str] = []
    others: list[Path] = []
    empty: list[str] = []
    broken: list[Path] = []
    for folder in visible(source):
        if not folder.is_dir():
            others.append(folder)
            continue
        entries = visible(folder)
        images = [entry for entry in entries if entry.suffix.lower() in suffixes and not entry.is_dir()]
        if readable:
            broken += [entry for entry in images if not entry.is_file()]
            images = [entry for entry in images if entry.is_file()]
        others += sorted({*entries} - {*images})
        if not images:
            empty.append(folder.name)
            continue
        labels += [len(identities)] * len(images)
        identities.append(folder.name)
        files += images
    if not files:
        raise FedfrError(
            f"{source} has no images in sub-folders; expected <identity>/<image> with one of {' '.join(suffixes)}"
        )
    names, other_names, broken_names = (
        tuple(entry.relative_to(source).as_posix() for entry in entries) for entries in (files, others, broken)
    )
    return ImageListing(tuple(files), tuple(labels), tuple(identities), names, other_names, tuple(empty), broken_names)


def visible(folder: Path) -> list[Path]:
    """Return the entries of a folder sorted by name, without hidden ones; raises :class:`FedfrError` as above."""
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
