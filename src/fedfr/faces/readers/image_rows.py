"""Import of data sets in rows, each with a compressed image and an identity."""

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
    """Images in order, with who is on each; None where nobody is named.

    ``identities``: names in the order of labels, of which those that occur are kept. ``where`` says where a row
    stands. ``contents`` gives the compressed images, or texts that say why there is none, as often as it is called.
    """

    source: Path
    people: Sequence[str | None]
    identities: Sequence[str]
    names: Sequence[str]
    where: Callable[[int], str]
    contents: Callable[[], Iterator[bytes | str]]


def make_image_rows(
    source: Path,
    people: Sequence[str | int | None],
    classes: Sequence[str],
    names: Sequence[str | None],
    files: Sequence[str | None],
    where: Callable[[int], str],
    contents: Callable[[], Iterator[bytes | str]],
) -> ImageRows:
    """Order the identities: ``classes`` as they stand, then others by name; numbers get zeros before them.

    A negative number, as tables have for "no label", is no identity, nor is one written as text. An image without a
    name is called by identity and file, or by identity and row. Where a name comes again, the row
    is put behind it.
    """
    people = [None if _stands_for_nobody(person) else person for person in people]
    width = max(7, *(len(str(person)) for person in people if isinstance(person, int)), 0)
    texts = [f"{person:0{width}d}" if isinstance(person, int) else person for person in people]
    there = set(texts) - {None}
    known = [name for name in dict.fromkeys(classes) if name in there]
    identities = known + sorted(name for name in there.difference(known) if name is not None)
    given = zip(texts, names, files, strict=True)
    called = [name or f"{person}/{file or f'{row:08d}'}" for row, (person, name, file) in enumerate(given)]
    often = Counter(called)
    called = [name if often[name] == 1 else f"{name}#{row}" for row, name in enumerate(called)]
    return ImageRows(source, texts, identities, called, where, contents)


@dataclass
class ImportIssues:
    """What is noticed on the way; each image counts once, however often it is decoded."""

    dropped: dict[int, str] = field(default_factory=dict)
    bad: dict[int, str] = field(default_factory=dict)
    resized: set[int] = field(default_factory=set)
    repeated: set[int] = field(default_factory=set)
    contradicted: set[int] = field(default_factory=set)
    seen: dict[bytes, int] = field(default_factory=dict)

    def compare(self, row: int, content: bytes, people: Sequence[str | None]) -> None:
        """Notice an image that has come before, and whether it was somebody else's."""
        first = self.seen.setdefault(hashlib.blake2b(content, digest_size=16).digest(), row)
        if first != row:
            (self.repeated if people[first] == people[row] else self.contradicted).add(row)


def import_rows(
    rows: ImageRows, dest: Path | None, progress: Progress | None = None, *, skip_bad: bool = False
) -> FaceSet:
    """Decode every image, bring it to 112x112, and keep the set in memory or, one at a time, in ``dest``.

    One :class:`FacesWarning` each counts images that are resized, that come twice, and that come under two
    identities; these are kept. Rows without identity or readable image are a :class:`FedfrError` that counts them and
    says where the first stand. With ``skip_bad`` all images are decoded once before, and such rows left out, with one
    warning that counts and lists them; all of them stand in ``dest``/dropped.tsv.
    """
    found = ImportIssues()
    if skip_bad:
        for row, content in enumerate(rows.contents()):
            image = _image(rows, found, row, content)
            if isinstance(image, str):
                found.dropped[row] = image
    else:
        found.bad = {row: NOBODY for row, person in enumerate(rows.people) if person is None}
    good = [row for row in range(len(rows.people)) if row not in found.dropped]
    if not good:
        listed = f": {_listed(rows, found.dropped)}" if found.dropped else ""
        raise FedfrError(f"{rows.source} holds no images to import{listed}; give a data set with some")
    people = [person for row in good if (person := rows.people[row]) is not None]
    there = set(people)
    identities = [name for name in rows.identities if name in there]
    label = {name: number for number, name in enumerate(identities)}
    labels = [label[person] for person in people]
    faces = store_faces(
        _images(rows, found, len(good), progress), labels, identities, [rows.names[row] for row in good], dest
    )
    _warn(rows, found, dest)
    return faces


NOBODY = "names no identity"
NO_LABEL = re.compile(r"-[0-9]+(\.0*)?")


def _stands_for_nobody(person: str | int | None) -> bool:
    return NO_LABEL.fullmatch(person.strip()) is not None if isinstance(person, str) else (person or 0) < 0


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
    """The image at 112x112, or why there is none."""
    if rows.people[row] is None:
        return NOBODY
    if isinstance(content, str):
        return content
    try:
        image = to_rgb(content)
    except ValueError as error:
        return str(error)
    if image.shape != IMAGE_SHAPE:
        found.resized.add(row)
    found.compare(row, content, rows.people)
    return resize(image)


def _refusal(rows: ImageRows, bad: Mapping[int, str]) -> FedfrError:
    count = f"{len(bad)} of {len(rows.people)} rows cannot be used: " if len(bad) > 1 else ""
    return FedfrError(f"{count}{_listed(rows, bad, 5)}; mend the data set, or leave such rows out with --skip-bad")


def _listed(rows: ImageRows, bad: Mapping[int, str], most: int = MAX_LISTED) -> str:
    lines = [f"{rows.where(row)} {bad[row]}" for row in sorted(bad)[:most]]
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
        of = f"{len(found.resized)} of {len(rows.people)} images"
        _warn_user(f"{of} were not 112x112 and resized without alignment; align faces first for full accuracy")
    if found.repeated:
        _warn_user(
            f"{len(found.repeated)} images come twice under one identity, first {rows.where(min(found.repeated))}"
        )
    if found.contradicted:
        first = rows.where(min(found.contradicted))
        _warn_user(
            f"{len(found.contradicted)} images come again under another identity, first {first}; one name is wrong"
        )


def _warn_user(message: str) -> None:
    warnings.warn(message, FacesWarning, stacklevel=5)
