"""Import of data sets whose rows hold a compressed image and an identity."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.faces.faceset import FaceSet
from fedfr.faces.pixels import IMAGE_SHAPE
from fedfr.faces.readers.image_reading import FacesWarning, Progress, resize, store_faces, to_rgb

__all__ = ["ImageRows", "import_rows", "make_image_rows"]

MAX_LISTED = 20


@dataclass(frozen=True)
class ImageRows:
    """Images in order, with the identity of each, None where it is unlabelled.

    ``identities`` are the names in the order of labels; those without images are dropped. ``where`` returns the
    location of a row for messages. ``contents`` iterates over the compressed images, or the reason why there is none;
    it can be called repeatedly.
    """

    source: Path
    row_identities: Sequence[str | None]
    identities: Sequence[str]
    names: Sequence[str]
    where: Callable[[int], str]
    contents: Callable[[], Iterator[bytes | str]]


def make_image_rows(
    source: Path,
    row_identities: Sequence[str | int | None],
    classes: Sequence[str],
    names: Sequence[str | None],
    files: Sequence[str | None],
    where: Callable[[int], str],
    contents: Callable[[], Iterator[bytes | str]],
) -> ImageRows:
    """Order the identities: ``classes`` in their order, then others by name; numbers are padded with zeros.

    A negative number, which means "no label" in tables, is not an identity, even when written as text. An image
    without a name gets that of its identity and file, or of its identity and row. The row is appended to repeated
    names.
    """
    given = [None if _is_missing_label(identity) else identity for identity in row_identities]
    width = max(7, *(len(str(identity)) for identity in given if isinstance(identity, int)), 0)
    texts = [f"{identity:0{width}d}" if isinstance(identity, int) else identity for identity in given]
    present = set(texts) - {None}
    known = [name for name in dict.fromkeys(classes) if name in present]
    identities = known + sorted(name for name in present.difference(known) if name is not None)
    rows = enumerate(zip(texts, names, files, strict=True))
    image_names = [name or f"{identity}/{file or f'{row:08d}'}" for row, (identity, name, file) in rows]
    counts = Counter(image_names)
    image_names = [name if counts[name] == 1 else f"{name}#{row}" for row, name in enumerate(image_names)]
    return ImageRows(source, texts, identities, image_names, where, contents)


@dataclass
class ImportIssues:
    """Rows with problems by kind; each image counts once, however often it is decoded."""

    dropped: dict[int, str] = field(default_factory=dict)
    bad: dict[int, str] = field(default_factory=dict)
    resized: set[int] = field(default_factory=set)
    repeated: set[int] = field(default_factory=set)
    contradicted: set[int] = field(default_factory=set)
    seen: dict[bytes, int] = field(default_factory=dict)

    def compare(self, row: int, content: bytes, identities: Sequence[str | None]) -> None:
        """Record whether the same image occurred before, under the same or another identity."""
        first = self.seen.setdefault(hashlib.blake2b(content, digest_size=16).digest(), row)
        if first != row:
            (self.repeated if identities[first] == identities[row] else self.contradicted).add(row)


def import_rows(
    rows: ImageRows, dest: Path | None, progress: Progress | None = None, *, skip_bad: bool = False
) -> FaceSet:
    """Decode every image, resize it to 112x112, and keep the set in memory or, one at a time, in ``dest``.

    One :class:`FacesWarning` each counts images that are resized, that occur twice, and that occur under two
    identities; these are kept. Rows without identity or readable image raise :class:`FedfrError` with their number and
    the location of the first. With ``skip_bad`` all images are first decoded once and such rows are left out, with one
    warning; all of them are listed in ``dest``/dropped.tsv.
    """
    found = ImportIssues()
    if skip_bad:
        for row, content in enumerate(rows.contents()):
            image = _image(rows, found, row, content)
            if isinstance(image, str):
                found.dropped[row] = image
    else:
        found.bad = {row: UNLABELLED for row, identity in enumerate(rows.row_identities) if identity is None}
    valid = [row for row in range(len(rows.row_identities)) if row not in found.dropped]
    if not valid:
        listed = f": {_listed(rows, found.dropped)}" if found.dropped else ""
        raise FedfrError(f"{rows.source} holds no images to import{listed}; give a data set with images")
    kept = [identity for row in valid if (identity := rows.row_identities[row]) is not None]
    present = set(kept)
    identities = [name for name in rows.identities if name in present]
    label = {name: number for number, name in enumerate(identities)}
    labels = [label[identity] for identity in kept]
    faces = store_faces(
        _images(rows, found, len(valid), progress), labels, identities, [rows.names[row] for row in valid], dest
    )
    _warn(rows, found, dest)
    return faces


UNLABELLED = "has no identity"
MISSING_LABEL = re.compile(r"-[0-9]+(\.0*)?")


def _is_missing_label(identity: str | int | None) -> bool:
    return MISSING_LABEL.fullmatch(identity.strip()) is not None if isinstance(identity, str) else (identity or 0) < 0


def _images(rows: ImageRows, found: ImportIssues, total: int, progress: Progress | None) -> Iterator[NDArray[np.uint8]]:
    done = 0
    for row, content in enumerate(rows.contents()):
        if row in found.dropped:
            continue
        image = _image(rows, found, row, content)
        if isinstance(image, str):
            found.bad[row] = image
            continue
        yield image
        done += 1
        if progress is not None:
            progress(done, total)
    if found.bad:
        raise _refusal(rows, found.bad)


def _image(rows: ImageRows, found: ImportIssues, row: int, content: bytes | str) -> NDArray[np.uint8] | str:
    """Return the image at 112x112, or the reason why there is none."""
    if rows.row_identities[row] is None:
        return UNLABELLED
    if isinstance(content, str):
        return content
    try:
        image = to_rgb(content)
    except ValueError as error:
        return str(error)
    if image.shape != IMAGE_SHAPE:
        found.resized.add(row)
    found.compare(row, content, rows.row_identities)
    return resize(image)


def _refusal(rows: ImageRows, bad: Mapping[int, str]) -> FedfrError:
    count = f"{len(bad)} of {len(rows.row_identities)} rows cannot be used: " if len(bad) > 1 else ""
    return FedfrError(f"{count}{_listed(rows, bad, 5)}; repair the data set, or leave such rows out with --skip-bad")


def _listed(rows: ImageRows, bad: Mapping[int, str], limit: int = MAX_LISTED) -> str:
    lines = [f"{rows.where(row)} {bad[row]}" for row in sorted(bad)[:limit]]
    more = len(bad) - len(lines)
    return "; ".join([*lines, f"and {more} more"] if more else lines)


def _warn(rows: ImageRows, found: ImportIssues, dest: Path | None) -> None:
    if found.dropped:
        where = ""
        if dest is not None:
            lines = [f"{rows.where(row)}\t{reason}\n" for row, reason in found.dropped.items()]
            write_atomically(dest / "dropped.tsv", "".join(lines).encode())
            where = f" (all in {dest / 'dropped.tsv'})"
        _warn_user(f"{rows.source}: left out {len(found.dropped)} bad rows{where}: {_listed(rows, found.dropped)}")
    if found.resized:
        count = f"{len(found.resized)} of {len(rows.row_identities)} images"
        _warn_user(f"{count} were not 112x112 and resized without alignment; align faces first for full accuracy")
    if found.repeated:
        _warn_user(
            f"{len(found.repeated)} images occur again under the same identity, first {rows.where(min(found.repeated))}"
        )
    if found.contradicted:
        first = rows.where(min(found.contradicted))
        _warn_user(
            f"{len(found.contradicted)} images occur again under another identity, first {first}; one label is wrong"
        )


def _warn_user(message: str) -> None:
    warnings.warn(message, FacesWarning, stacklevel=5)
