"""Resolution of pair lists to the images of a face set."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.faces.faceset import FaceSet
from fedfr.faces.readers.listing import SUFFIXES
from fedfr.faces.readers.pairs.pair_lists import read_pair_list

__all__ = ["read_pairs"]

_AMBIGUOUS = -1
SKIPPED = "skipped.csv"

Pair = tuple[int, int]


def read_pairs(path: str | os.PathLike[str], faces: FaceSet) -> tuple[Pair, ...]:
    r"""Return the index pairs of the images in a pair list, in its order; a pair is genuine if its labels are equal.

    The list is LFW's ``pairs.txt`` (image i of a name is ``name/name_000i``), lines of two paths with or without a
    label, CALFW's and CPLFW's two lines per pair, a ``.csv`` or CFP's folder. A name may lack its suffix, begin with
    further folders, or be the file name alone if it is unique. Labels in the list must agree with those of ``faces``.
    Raises :class:`FedfrError` naming file, line and fault.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from fedfr.faces import FaceSet, read_pairs
    >>> faces = FaceSet(np.zeros((3, 112, 112, 3), np.uint8), [0, 0, 1], ["a", "b"], ["a/1.png", "a/2.png", "b/1.png"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "pairs.csv")
    ...     _ = path.write_text("a,b\na/1.png,a/2.png\na/1.png,b/1.png\n")
    ...     read_pairs(path, faces)
    ((0, 1), (0, 2))
    """
    listed = read_pair_list(Path(path))
    images = _ImageFinder(faces, {name for pair in listed for name in (pair.first, pair.second)})
    pairs = []
    for each in listed:
        first, second = (images.index(name, each.where) for name in (each.first, each.second))
        genuine = bool(faces.labels[first] == faces.labels[second])
        if each.same is not None and each.same is not genuine:
            raise FedfrError(
                f"{each.where}: same = {each.label!r}, but {str(genuine).lower()} by identity; correct one of them"
            )
        pairs.append((first, second))
    return tuple(pairs)


class _ImageFinder:
    """Index of images by name and, where unique, by name without suffix or folders."""

    def __init__(self, faces: FaceSet, wanted: Iterable[str]) -> None:
        self._faces = faces
        self._tries = {name: tuple(_candidate_names(name)) for name in wanted}
        self._at = _index_by_name(faces.names, {key for keys in self._tries.values() for key in keys})

    def index(self, name: str, where: str) -> int:
        """Return the index of the image called ``name``; raises :class:`FedfrError` unless there is exactly one."""
        found = next((self._at[key] for key in self._tries[name] if key in self._at), None)
        shown = name if name.isprintable() else repr(name)
        if found is None:
            raise FedfrError(f"{where}: image {shown} {self._reason_missing(name)}")
        if found == _AMBIGUOUS:
            raise FedfrError(
                f"{where}: image {shown} is ambiguous, as it occurs with several suffixes or in several folders; keep "
                "one, or list it with its identity and suffix"
            )
        return found

    def _reason_missing(self, name: str) -> str:
        place = None if self._faces.folder is None else self._faces.folder / SKIPPED
        reasons = _skipped(place) if place is not None and place.is_file() else {}
        skipped = _index_by_name(list(reasons), {key for keys in self._tries.values() for key in keys})

        def of(listed: str) -> int | None:
            return next((skipped[key] for key in self._tries[listed] if key in skipped), None)

        at = of(name)
        if at is None:
            return "is not among these faces; import the whole set"
        missing = [
            each
            for each in self._tries
            if not any(key in self._at for key in self._tries[each]) and of(each) is not None
        ]
        more = f", as were {len(missing) - 1} others of the list" if len(missing) > 1 else ""
        return (
            f"was skipped when the faces were aligned ({[*reasons.values()][at]}){more}, see {place}; take its pairs "
            "out of the list, or align it with other settings"
        )


def _skipped(path: Path) -> dict[str, str]:
    """Return the reason for each image that alignment skipped, by name."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row["path"]: row["reason"] for row in csv.DictReader(file) if row.get("path") and row.get("reason")}
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}


def _stem(name: str) -> str | None:
    return name[: name.rindex(".")] if name.lower().endswith(SUFFIXES) else None


def _candidate_names(name: str) -> Iterator[str]:
    """Yield the names that a listed image may have in the set, the likeliest first."""
    yield name
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    stem = _stem(name)
    for start in range(len(parts)):
        yield "/".join(parts[start:])
        if stem is not None:
            yield _stem("/".join(parts[start:])) or name
        # CFP's 001/frontal/01.jpg, if identities have no sub-folders.
        for joined in (f"{parts[start]}/{'_'.join(parts[start + 1 :])}", "_".join(parts[start:])):
            if len(parts) - start > 2:
                yield joined
                yield _stem(joined) or joined


def _index_by_name(names: Iterable[str], wanted: set[str]) -> dict[str, int]:
    """Map wanted keys to indices: full name, else without suffix, else file name, else file name without suffix."""
    ranked: tuple[dict[str, int], ...] = ({}, {}, {}, {})
    for index, name in enumerate(names):
        stem, base = _stem(name), name.rpartition("/")[2]
        for rank, key in enumerate((name, stem, base, None if stem is None else _stem(base))):
            if key in wanted and key is not None:
                ranked[rank][key] = _AMBIGUOUS if ranked[rank].get(key, index) != index else index
    return {key: index for keys in reversed(ranked) for key, index in keys.items()}
