"""Lists of image pairs to verify: as Labeled Faces in the Wild publishes them, or as a table."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from fedfr.errors import FedfrError
from fedfr.faces.faceset import FaceSet
from fedfr.faces.importers.listing import SUFFIXES

__all__ = ["read_pairs"]

_TRUTHS = {"1": True, "true": True, "0": False, "false": False}
_TWICE = -1

Pair = tuple[int, int]


def read_pairs(path: str | os.PathLike[str], faces: FaceSet) -> tuple[Pair, ...]:
    """Index pairs of the images that a list names, in its order; whether a pair shows one person follows from labels.

    A ``.csv`` has a header with the columns ``a`` and ``b``, names of images with or without their ending, and, if it
    likes, ``same`` (1, 0, true, false), which must agree with the labels; other columns are passed over. Anything else
    is read as LFW's ``pairs.txt``: the first line holds folds and pairs of each kind per fold, then for every fold come
    lines ``name i j`` (the same person) and ``name i other j`` (two people); image i of a name is ``name/name_000i``
    with any ending. Raises :class:`FedfrError` naming file, line and what is wrong there.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.lower(), _lfw_pairs)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            pairs = tuple(reader(file, path, _Images(faces)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text in lines"
        raise FedfrError(
            f"cannot read the pairs {path} ({reason}); give a list like LFW's pairs.txt, or a CSV with columns a, b"
        ) from error
    if not pairs:
        raise FedfrError(f"{path} holds no pairs; list one at least")
    return pairs


class _Images:
    """Where an image is, by its name or, where that is one image's alone, by its name without ending."""

    def __init__(self, faces: FaceSet) -> None:
        self.faces = faces
        self.at: dict[str, int] = {}
        for index, name in enumerate(faces.names):
            if name.lower().endswith(SUFFIXES):
                stem = name[: name.rindex(".")]
                self.at[stem] = _TWICE if stem in self.at else index
        self.at |= {name: index for index, name in enumerate(faces.names)}

    def index(self, name: str, where: str) -> int:
        """The image called ``name``; raises :class:`FedfrError` unless it is there once."""
        found = self.at.get(name)
        name = name if name.isprintable() else repr(name)
        if found is None:
            raise FedfrError(f"{where}: image {name} is not among these faces; import the whole set")
        if found == _TWICE:
            raise FedfrError(f"{where}: image {name} is there with several endings; keep one, or list it with its own")
        return found

    def same(self, pair: Pair) -> bool:
        """Whether both show one person."""
        return bool(self.faces.labels[pair[0]] == self.faces.labels[pair[1]])


def _lfw_pairs(file: TextIO, path: Path, images: _Images) -> Iterator[Pair]:
    lines = file.read().splitlines()
    try:
        folds, per_kind = (int(number) for number in lines[0].split())
    except (IndexError, ValueError) as error:
        raise FedfrError(f"{path}, line 1: expected two numbers, folds and pairs of each kind in a fold") from error
    if len(lines) - 1 != 2 * folds * per_kind:
        raise FedfrError(
            f"{path}: {len(lines) - 1} pairs, line 1 announces {2 * folds * per_kind}; it may be truncated"
        )
    for number, line in enumerate(lines[1:], start=2):
        where = f"{path}, line {number}"
        parts = line.split()
        if len(parts) == 3:
            parts = [parts[0], parts[1], parts[0], parts[2]]
        if len(parts) != 4 or not (parts[1].isdecimal() and parts[3].isdecimal()):
            raise FedfrError(
                f"{where}: expected `name number number` or `name number name number`, found {line[:80]!r}"
            )
        first, second = (f"{name}/{name}_{int(number):04d}" for name, number in (parts[:2], parts[2:]))
        yield images.index(first, where), images.index(second, where)


def _csv_pairs(file: TextIO, path: Path, images: _Images) -> Iterator[Pair]:
    table = csv.DictReader(file)
    columns = table.fieldnames or ()
    if not {"a", "b"} <= set(columns):
        raise FedfrError(f"{path}, line 1: found the columns {', '.join(columns)!r}; expected a, b and, if known, same")
    for line in table:
        where = f"{path}, line {table.line_num}"
        names = line["a"], line["b"]
        if not all(names):
            raise FedfrError(f"{where}: expected the names of two images, found {'one' if any(names) else 'none'}")
        pair = images.index(names[0], where), images.index(names[1], where)
        told, truth = line.get("same"), images.same(pair)
        if told and _TRUTHS.get(told.strip().lower()) is not truth:
            raise FedfrError(f"{where}: same = {told!r}, but the faces say {str(truth).lower()}; correct one of them")
        yield pair


_READERS = {".csv": _csv_pairs}
