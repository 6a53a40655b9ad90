"""Exclusion of images that a person marked in a list of audit findings."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_file, write_json
from fedfr.faces.faceset import FaceSet
from fedfr.faces.name_matching import format_name_groups, normalized_name
from fedfr.faces.storage import PIXEL_FILES, check_destination

__all__ = [
    "EXCLUDED",
    "OmittedImage",
    "exclude_faces",
    "import_with_exclusions",
    "lost_identities",
    "read_exclusions",
    "remaining_images",
]

EXCLUDED = "excluded.json"
"""File beside a face set that lists which images were excluded from the original set, and why."""

DECISION, INDEX, IMAGE, IDENTITY, KIND, FACES = "decision", "index", "image", "identity", "kind", "faces"
KEEP, EXCLUDE = ("", "keep"), ("exclude",)
MAX_LISTED = 3


@dataclass(frozen=True)
class OmittedImage:
    """An image that a split or a face set omits: index, name, identity and reason."""

    index: int
    image: str
    identity: str
    reason: str


def remaining_images(faces: FaceSet, left: Sequence[OmittedImage]) -> NDArray[np.int64]:
    """Return the indices of the images that remain, ascending."""
    return np.delete(np.arange(len(faces)), [each.index for each in left])


def lost_identities(faces: FaceSet, left: Sequence[OmittedImage]) -> tuple[str, ...]:
    """Return the identities of which no image remains, in the order of their labels."""
    omitted = np.bincount(faces.labels[[each.index for each in left]], minlength=faces.num_identities)
    lost = np.flatnonzero((omitted > 0) & (omitted == faces.counts()))
    return tuple(faces.identities[label] for label in lost.tolist())


def read_exclusions(path: str | os.PathLike[str], faces: FaceSet) -> tuple[OmittedImage, ...]:
    """Return the images of ``faces`` that a list of findings marks with ``exclude``, by index.

    The list is that of ``fedfr faces audit --csv`` with the column ``decision`` filled in (``exclude``, ``keep`` or
    empty) and saved by any spreadsheet program, or a table of the columns ``decision`` and ``image`` or ``index``. A
    row without an image means all images of its identity. Raises :class:`FedfrError` naming the row for images or
    identities that do not exist, for contradicting rows and for a list of another face set.
    """
    place = Path(path)
    chosen: dict[int, list[str]] = {}
    first: dict[int, tuple[bool, int]] = {}
    rows = list(_rows(place))
    names = _RowResolver(faces, {row[IMAGE] for _, row in rows if row.get(IMAGE) and not row.get(INDEX)})
    for number, row in rows:
        where = f"row {number} of {place}"
        _check_faces(where, row.get(FACES, ""), faces)
        decision = row[DECISION].casefold()
        if decision not in KEEP + EXCLUDE:
            raise FedfrError(f"{where} has the decision {row[DECISION]!r}; allowed are exclude, keep and nothing")
        out = decision in EXCLUDE
        if not decision:
            continue
        for index in names.of(where, row):
            before, other = first.setdefault(index, (out, number))
            if before != out:
                raise FedfrError(
                    f"{where} and row {other} contradict each other about {faces.names[index]!r}; "
                    "enter the same decision in both"
                )
            if out:
                chosen.setdefault(index, []).append(f"{row.get(KIND) or 'marked'} ({place.name}, row {number})")
    return tuple(
        OmittedImage(index, faces.names[index], faces.identities[int(faces.labels[index])], "; ".join(chosen[index]))
        for index in sorted(chosen)
    )


def exclude_faces(
    faces: FaceSet, findings: str | os.PathLike[str], dest: str | os.PathLike[str], *, keep_single: bool = False
) -> tuple[OmittedImage, ...]:
    """Write ``faces`` to ``dest`` without the images marked in ``findings``, and list these in ``excluded.json``.

    Raises :class:`FedfrError` as :func:`read_exclusions` does, when no image is marked or none would remain and, unless
    ``keep_single``, when a single image of an identity would remain.
    """
    target = Path(dest).resolve()
    check_destination(target)
    left = read_exclusions(findings, faces)
    if not left:
        raise FedfrError(
            f"{findings} marks no image with exclude in its column {DECISION}; mark the images to exclude first"
        )
    omitted = np.bincount(faces.labels[[each.index for each in left]], minlength=faces.num_identities)
    single = [
        faces.identities[label] for label in np.flatnonzero((omitted > 0) & (faces.counts() - omitted == 1)).tolist()
    ]
    if single and not keep_single:
        listed = format_name_groups([(name,) for name in single])
        raise FedfrError(
            f"{len(single)} identities would be left with a single image: {listed}; "
            "mark their last image with exclude as well, keep another, or allow it with --keep-single"
        )
    kept = remaining_images(faces, left)
    if not len(kept):
        raise FedfrError(f"{findings} marks every image with exclude; keep at least one")
    faces.subset(kept).save(target)
    record = {
        "of": faces.fingerprint(),
        "images": [asdict(each) for each in left],
        "lost_identities": lost_identities(faces, left),
    }
    write_json(target / EXCLUDED, record)
    return left


def import_with_exclusions(
    import_into: Callable[[Path], object],
    findings: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    keep_single: bool = False,
) -> tuple[OmittedImage, ...]:
    """Import into a hidden folder beside ``dest`` and copy all but the marked images to ``dest``.

    The list must come from an audit of the same import, without omissions. A failed import leaves no files behind.
    """
    target = Path(dest).resolve()
    check_destination(target)
    whole = target.with_name(f".{target.name}.whole")
    shutil.rmtree(whole, ignore_errors=True)
    try:
        import_into(whole)
        left = exclude_faces(FaceSet.load(whole), findings, target, keep_single=keep_single)
        for file in whole.iterdir():
            if file.name not in (*PIXEL_FILES, "faces.json"):
                shutil.copyfile(file, target / file.name)
    finally:
        shutil.rmtree(whole, ignore_errors=True)
    return left


class _RowResolver:
    """Find the images that a row of the list refers to."""

    def __init__(self, faces: FaceSet, wanted: set[str]) -> None:
        self._faces = faces
        self._labels = {name: label for label, name in enumerate(faces.identities)}
        self._found: dict[str, list[int]] = {name: [] for name in wanted}
        if wanted:
            for index, name in enumerate(faces.names):
                if name in wanted:
                    self._found[name].append(index)

    def of(self, where: str, row: Mapping[str, str]) -> list[int]:
        given, image = row.get(INDEX, ""), row.get(IMAGE, "")
        if given:
            # Spreadsheets write whole numbers with decimals.
            number = re.fullmatch(r"(\d+)(?:[.,]0+)?", given)
            if number is None or int(number[1]) >= len(self._faces):
                raise FedfrError(
                    f"{where} has the index {given!r}; these faces have images 0 to {len(self._faces) - 1}"
                )
            index = int(number[1])
            if image and not _is_same_name(image, self._faces.names[index]):
                raise FedfrError(
                    f"{where}: image {index} is {self._faces.names[index]!r}, not {image!r}; if columns were "
                    "sorted separately, audit these faces again"
                )
            return [index]
        if image:
            found = self._found[image]
            if len(found) != 1:
                what = "several images are" if found else "no image of these faces is"
                raise FedfrError(f"{where}: {what} called {image!r}; give an index, or audit these faces again")
            return found
        identity = row.get(IDENTITY, "")
        if identity not in self._labels:
            raise FedfrError(
                f"{where} names neither an image nor one identity of these faces ({identity!r}); mark images instead"
            )
        return list(map(int, self._faces.by_identity().images(self._labels[identity])))


def _is_same_name(one: str, other: str) -> bool:
    """Whether two names are equal apart from characters that programs change with the encoding."""
    # Programs replace characters that their encoding lacks by a question mark.
    letters = [re.sub(r"[^\x20-\x7e]|\?", "", name) for name in (one, other)]
    return normalized_name(one) == normalized_name(other) or letters[0] == letters[1]


def _check_faces(where: str, given: str, faces: FaceSet) -> None:
    if given and not faces.fingerprint().startswith(given.removeprefix("sha256:")):
        raise FedfrError(
            f"{where} belongs to the face set {given}, this one is sha256:{faces.fingerprint()[:16]}; audit these "
            "faces again, or give the face set that was audited"
        )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows by their number in a spreadsheet, with stripped cells by column; empty rows are skipped."""
    text = _text(path)
    lines = text.splitlines(keepends=True)
    skipped = 0
    if lines and (declared := re.fullmatch(r"\"?sep=(.)\"?\s*", lines[0], re.IGNORECASE)):
        skipped, delimiter = 1, declared[1]
    else:
        # The names in the header contain no separators, so the most frequent one separates the columns.
        counts = Counter(character for character in (lines[0] if lines else "") if character in ",;\t|")
        delimiter = counts.most_common(1)[0][0] if counts else ","
    reader = csv.reader(io.StringIO("".join(lines[skipped:]), newline=""), delimiter=delimiter, strict=True)
    try:
        head = [name.strip().casefold() for name in next(reader, [])]
        missing = [DECISION] if DECISION not in head else []
        if missing or not {INDEX, IMAGE, IDENTITY} & set(head):
            there = ", ".join(filter(None, head)) or "nothing"
            raise FedfrError(
                f"{path} has no column {DECISION}, or none of {INDEX}, {IMAGE} and {IDENTITY}; it has {there}; give a "
                "list of `fedfr faces audit --csv` with its column decision filled in"
            )
        for number, cells in enumerate(reader, start=2 + skipped):
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(head) and any(cell.strip() for cell in cells[len(head) :]):
                raise FedfrError(
                    f"row {number} of {path} has {len(cells)} cells, the header {len(head)}; correct the list"
                )
            row = dict.fromkeys(head, "") | dict(zip(head, map(str.strip, cells), strict=False))
            yield number, row
    except csv.Error as error:
        raise FedfrError(f"{path} is not a valid table ({error}); save it as CSV again") from error


def _text(path: Path) -> str:
    try:
        content = read_file(path)
    except OSError as error:
        raise FedfrError(f"cannot read {path}: {error.strerror or error}; give a list of findings") from error
    encodings = ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252")
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise FedfrError(f"{path} is not a text file; save the list as CSV, encoded as UTF-8")
