"""Import of RecordIO files, either decoded once or as a set that decodes the images of the file on access."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.faces.array_columns import Column, Digests
from fedfr.faces.faceset import FaceSet
from fedfr.faces.readers.image_reading import FacesWarning, Progress
from fedfr.faces.readers.recordio import RecordError, RecordFile, RecordPixels, make_index, read_index, read_layout
from fedfr.faces.readers.recordio.format import OnBadRecord, raise_error
from fedfr.faces.readers.recordio.linked import link as link_pixels
from fedfr.faces.readers.recordio.recordio_files import RecordioFiles, find_recordio_files, read_property
from fedfr.faces.storage import check_destination, write_faces, write_linked_faces

__all__ = ["import_recordio"]

MAX_LISTED = 10
MAX_BAD = 10_000
CHUNK = 256


class BadRecords:
    """Errors of the records left out; raises :class:`FedfrError` when there are more than 10 000."""

    def __init__(self) -> None:
        self.errors: list[RecordError] = []

    def __call__(self, error: RecordError) -> None:
        self.errors.append(error)
        if len(self.errors) > MAX_BAD:
            raise FedfrError(f"{error.path} has more than {MAX_BAD} bad records; fetch it again") from error

    def __str__(self) -> str:
        lines = [f"{error.record} at byte {error.offset} {error.reason}" for error in self.errors[:MAX_LISTED]]
        more = len(self.errors) - len(lines)
        return "; ".join([*lines, f"and {more} more"] if more else lines)


@dataclass(frozen=True)
class OpenedRecords:
    """Images of a file and their labels, in the order of keys, not decoded yet."""

    pixels: RecordPixels
    labels: NDArray[np.int64]
    first_identity: int

    def take(self, rows: NDArray[np.int64]) -> OpenedRecords:
        """Return the images at ``rows``."""
        return OpenedRecords(self.pixels.take(rows), self.labels[rows], self.first_identity)

    def describe(self) -> tuple[NDArray[np.int64], list[str], RecordNames]:
        """Return labels 0 … K-1 in the order of the file's labels, the K identities, and the names of the images.

        The name of an identity is its number, padded with zeros so that names and labels have the same order.
        """
        found, labels = np.unique(self.labels, return_inverse=True)
        identities = [f"{number:07d}" for number in (found + self.first_identity).tolist()]
        return labels.astype(np.int64), identities, RecordNames(labels, identities, self.pixels.keys)


class RecordNames(Column[str]):
    """Names ``identity/key`` of the images of a file, created on access."""

    def __init__(self, labels: NDArray[np.int64], identities: Sequence[str], keys: NDArray[np.int64]) -> None:
        self._labels, self._identities, self._keys = labels, identities, keys

    def __len__(self) -> int:
        return len(self._keys)

    def take(self, rows: NDArray[np.int64]) -> RecordNames:
        """See :meth:`Column.take`."""
        return RecordNames(self._labels[rows], self._identities, self._keys[rows])

    def _at(self, row: int) -> str:
        return f"{self._identities[int(self._labels[row])]}/{int(self._keys[row]):08d}"


def import_recordio(
    path: str | os.PathLike[str],
    dest: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    *,
    link: bool = True,
    skip_bad: bool = False,
) -> FaceSet:
    """Import the images of a ``.rec`` file, or of the folder that holds ``train.rec``, in the order of their keys.

    Both layouts of :mod:`fedfr.faces.readers.recordio.record_layout` are supported; if the ``.idx`` is missing, the
    index is rebuilt from the records. Images are decoded on access, and ``dest`` stores only offsets and digests; with
    ``link=False`` it stores the decoded pixels. Images of other sizes are resized, with one :class:`FacesWarning` that
    counts them.

    Raises :class:`FedfrError` for a file of another format and for the first invalid record, naming it and its offset.
    With ``skip_bad`` such records are omitted with one warning, and all are listed in ``dest``/dropped.tsv.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from fedfr.faces import FaceSet, Split, export_recordio, import_recordio
    >>> faces = FaceSet(np.zeros((3, 112, 112, 3), np.uint8), [0, 0, 1], ["a", "b"])
    >>> split = Split("all", 0, faces.fingerprint(), public=range(3), clients={}, generic=(), distractors=())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = export_recordio(faces, split, Path(folder, "out"))
    ...     found = import_recordio(next(Path(folder).rglob("train.rec")))
    ...     found.images([0, 2]).shape, found.labels.tolist()
    ((2, 112, 112, 3), [0, 0, 1])
    """
    files = find_recordio_files(Path(path))
    target = None if dest is None else Path(dest).resolve()
    if target is not None:
        check_destination(target)
    dropped = BadRecords()
    opened = _open(files, dropped if skip_bad else raise_error, strict=not skip_bad)
    count = len(opened.labels)
    digests = Digests.of(())
    if skip_bad or (link and target is not None):
        valid, digests = opened.pixels.examine(_counting(progress), dropped if skip_bad else raise_error)
        opened = opened.take(valid)
    if not len(opened.labels):
        raise FedfrError(f"{files.records} holds no images{f': {dropped}' if dropped.errors else ''}; fetch it again")
    labels, identities, names = opened.describe()
    if target is None:
        faces = FaceSet(opened.pixels, labels, identities, names)
    else:
        if link:
            write_linked_faces(
                target, labels, identities, names, digests, lambda folder: link_pixels(folder, opened.pixels, digests)
            )
        else:
            write_faces(target, labels, identities, names, _each(opened.pixels, _counting(progress)))
        faces = FaceSet.load(target)
    _warn(files, opened, dropped, count, target)
    return faces


def _open(files: RecordioFiles, on_bad: OnBadRecord, *, strict: bool) -> OpenedRecords:
    file = RecordFile(files.records)
    if strict:
        file.check_kind()
    index = make_index(file, on_bad) if files.index is None else read_index(files.index)
    layout = read_layout(file, index, on_bad)
    if layout.mixed_ranges:
        _warn_user(
            f"{files.records}: {layout.mixed_ranges} identity records cover images with other labels; "
            "the labels of the images are used"
        )
    return OpenedRecords(RecordPixels(file, layout.keys, layout.offsets), layout.labels, layout.first_identity)


def _counting(progress: Progress | None) -> Progress:
    return progress or (lambda done, total: None)


def _each(pixels: RecordPixels, progress: Progress) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(pixels), CHUNK):
        block = pixels[np.arange(start, min(start + CHUNK, len(pixels)))]
        for done, image in enumerate(block, start=start + 1):
            yield image
            progress(done, len(pixels))


def _warn(files: RecordioFiles, opened: OpenedRecords, dropped: BadRecords, count: int, target: Path | None) -> None:
    if dropped.errors:
        where = ""
        if target is not None:
            lines = [f"{error.record}\t{error.offset}\t{error.reason}\n" for error in dropped.errors]
            write_atomically(target / "dropped.tsv", "".join(lines).encode())
            where = f" (all in {target / 'dropped.tsv'})"
        _warn_user(f"{files.records}: left out {len(dropped.errors)} bad records{where}: {dropped}")
    resized = int(opened.pixels.resized.sum())
    if resized:
        _warn_user(f"{resized} of {count} images were not 112x112 and resized without alignment; align faces first")
    declared = None if files.property is None else read_property(files.property)
    found = len(np.unique(opened.labels))
    if files.property is not None and declared != found:
        _warn_user(
            f"{files.property} declares {declared or 'no'} identities, {found} have images; the records are used"
        )


def _warn_user(message: str) -> None:
    warnings.warn(message, FacesWarning, stacklevel=4)
