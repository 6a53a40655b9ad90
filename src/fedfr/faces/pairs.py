"""Lists of image pairs to verify, as Labeled Faces in the Wild publishes them."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

from fedfr.errors import FedfrError
from fedfr.faces.faceset import FaceSet

__all__ = ["read_pairs"]


def read_pairs(path: str | os.PathLike[str], faces: FaceSet) -> tuple[tuple[int, int], ...]:
    """Index pairs of the images that a ``pairs.txt`` names, in the file's order.

    The first line holds folds and pairs of each kind per fold, then for every fold come lines ``name i j`` (the same
    person) and ``name i other j`` (two people); image i of a name is ``name/name_000i`` with any ending. Whether a pair
    shows one person follows from the labels. Raises :class:`FedfrError` naming file, line and what is wrong there.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise FedfrError(f"cannot read the pairs {path} ({reason}); give a list like LFW's pairs.txt") from error
    known = {PurePath(name).with_suffix("").as_posix(): index for index, name in enumerate(faces.names)}
    try:
        folds, per_kind = (int(number) for number in lines[0].split())
    except (IndexError, ValueError) as error:
        raise FedfrError(f"{path}, line 1: expected two numbers, folds and pairs of each kind in a fold") from error
    if len(lines) - 1 != 2 * folds * per_kind:
        raise FedfrError(
            f"{path}: {len(lines) - 1} pairs, line 1 announces {2 * folds * per_kind}; it may be truncated"
        )
    return tuple(_pair(line, f"{path}, line {number}", known) for number, line in enumerate(lines[1:], start=2))


def _pair(line: str, where: str, known: dict[str, int]) -> tuple[int, int]:
    parts = line.split()
    if len(parts) == 3:
        parts = [parts[0], parts[1], parts[0], parts[2]]
    if len(parts) != 4 or not (parts[1].isdecimal() and parts[3].isdecimal()):
        raise FedfrError(f"{where}: expected `name number number` or `name number name number`, found {line!r}")
    stems = [f"{name}/{name}_{int(number):04d}" for name, number in (parts[:2], parts[2:])]
    for stem in stems:
        if stem not in known:
            raise FedfrError(f"{where}: image {stem} is not among these faces; import the whole set")
    return known[stems[0]], known[stems[1]]
