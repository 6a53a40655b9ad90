"""Reading of image files to RGB, and assembly of face sets from them."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_file, write_atomically
from fedfr.faces.encoded_images import MAX_PIXELS, check_pixels, decode, decode_rgb, resize
from fedfr.faces.faceset import FaceSet
from fedfr.faces.image_headers import any_image_size
from fedfr.faces.name_matching import format_name_groups, groups_of_similar_names
from fedfr.faces.readers.pgm import PGM_HEADER, restore_line_ends
from fedfr.faces.storage import IMAGE_SHAPE, write_faces

__all__ = [
    "FacesWarning",
    "Progress",
    "Resize",
    "build_face_set",
    "read_image",
    "resize",
    "store_faces",
    "to_rgb",
    "warn_of_similar_names",
]

SKIPPED = "skipped.csv"
MAX_LISTED = 5

Progress = Callable[[int, int], None]
"""Called with the number of images done and of all images."""

Resize = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Resizes an RGB image of any size to 112x112."""


class FacesWarning(UserWarning):
    """Warning about imported images; the import continues.

    >>> import tempfile
    >>> import warnings
    >>> from pathlib import Path
    >>> import cv2
    >>> import numpy as np
    >>> from fedfr.faces import FacesWarning, import_folder
    >>> with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
    ...     warnings.simplefilter("error", FacesWarning)  # treat warnings as errors
    ...     Path(folder, "a").mkdir()
    ...     _ = cv2.imwrite(f"{folder}/a/1.png", np.zeros((200, 200, 3), np.uint8))
    ...     try:
    ...         _ = import_folder(folder)
    ...     except FacesWarning as warning:
    ...         print(str(warning).partition(";")[0])
    1 image was not 112x112 and resized without alignment
    """


def to_rgb(content: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode the content of an image file as :func:`read_image` does: uint8 RGB (height, width, 3).

    Raises ``ValueError`` with the reason for an unknown format, a damaged image, and one with more than ``max_pixels``
    pixels according to its header.
    """
    size = any_image_size(content)
    if size is None:
        raise ValueError("holds no image of a known kind")
    check_pixels(size, max_pixels)
    header = PGM_HEADER.match(content[:1024])
    if header:
        content = restore_line_ends(content, header)
    if header and int(header[3]) not in (0, 255, 65535):
        # OpenCV keeps the raw values of such a file: 12-bit images would be almost black.
        grey = decode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if grey is None:
            raise ValueError("holds an image that is corrupt or truncated")
        scaled = np.rint(grey.astype(np.float32) * (255 / int(header[3]))).clip(0, 255).astype(np.uint8)
        return np.repeat(scaled[:, :, None], 3, axis=2)
    return decode_rgb(content)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as uint8 RGB (height, width, 3): grey is repeated, 16 bits reduced, transparency dropped.

    Raises :class:`FedfrError` naming the file if it cannot be read, is truncated or has more than 64 megapixels.
    """
    try:
        # Not cv2.imread: it fails on some paths that are not ASCII, and only prints when a file is corrupt.
        content = read_file(path)
    except OSError as error:
        raise FedfrError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    if not content:
        raise FedfrError(f"{path} is not a readable image (it is empty); replace or remove it")
    try:
        return to_rgb(content)
    except ValueError as error:
        raise FedfrError(f"{path} is not a readable image (it {error}); replace or remove it") from error


def build_face_set(
    files: Sequence[Path],
    labels: Sequence[int],
    identities: Sequence[str],
    names: Sequence[str],
    fit: Resize,
    dest: Path | None,
    progress: Progress | None = None,
    *,
    skip_bad: bool = False,
) -> FaceSet:
    """Read every file, resize it to 112x112 with ``fit``, and keep the set in memory or, with ``dest``, on disk.

    With ``dest`` only one image is in memory at a time and the returned set is memory-mapped. Raises
    :class:`FedfrError` naming the first unreadable files and their number. With ``skip_bad`` such files are omitted
    with one :class:`FacesWarning` and listed in ``dest``/skipped.csv.
    """
    bad: dict[int, FedfrError] = {}

    def read(row: int) -> NDArray[np.uint8] | None:
        try:
            return read_image(files[row])
        except FedfrError as error:
            bad[row] = error
            return None

    rows = [row for row in range(len(files)) if not skip_bad or read(row) is not None]
    if not rows:
        raise FedfrError(f"none of {len(files)} images can be read: {_listed(bad)}")
    kept_identities = sorted({labels[row] for row in rows})
    place = {label: number for number, label in enumerate(kept_identities)}

    def images() -> Iterator[NDArray[np.uint8]]:
        for done, row in enumerate(rows, start=1):
            image = read(row)
            if image is not None:
                yield fit(image)
            elif skip_bad:
                raise bad[row]  # it was readable in the first pass
            if progress is not None:
                progress(done, len(rows))
        if len(bad) > len(files) - len(rows):
            raise FedfrError(_refusal(bad, len(files)))

    kept_labels, kept_names = [place[labels[row]] for row in rows], [names[row] for row in rows]
    faces = store_faces(images(), kept_labels, [identities[label] for label in kept_identities], kept_names, dest)
    if bad:
        where = ""
        if dest is not None:
            write_atomically(dest / SKIPPED, _csv({names[row]: str(error) for row, error in bad.items()}))
            where = f" (all in {dest / SKIPPED})"
        lost = [name for label, name in enumerate(identities) if label not in place]
        lost_text = f", and with them {len(lost)} identities ({', '.join(lost[:MAX_LISTED])})" if lost else ""
        warnings.warn(
            f"left out {len(bad)} of {len(files)} images{where}{lost_text}: {_listed(bad)}", FacesWarning, stacklevel=3
        )
    return faces


def _refusal(bad: Mapping[int, FedfrError], total: int) -> str:
    advice = "or leave such files out with `fedfr faces import --skip-bad`"
    if len(bad) == 1:
        return f"{next(iter(bad.values()))}, {advice}"
    return f"{len(bad)} of {total} images cannot be used: {_listed(bad)}; repair or remove them, {advice}"


def _listed(bad: Mapping[int, FedfrError]) -> str:
    lines = [str(error).rpartition(";")[0] for error in list(bad.values())[:MAX_LISTED]]
    more = len(bad) - len(lines)
    return "; ".join([*lines, f"and {more} more"] if more else lines)


def _csv(reasons: Mapping[str, str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "reason", "detail"))
    writer.writerows((name, "unreadable", reason) for name, reason in reasons.items())
    return text.getvalue().encode()


def store_faces(
    images: Iterable[NDArray[np.uint8]],
    labels: Sequence[int],
    identities: Sequence[str],
    names: Sequence[str],
    dest: Path | None,
) -> FaceSet:
    """Store images (112, 112, 3), one per label, in memory or, with ``dest``, one at a time on disk.

    A set on disk is returned memory-mapped. One :class:`FacesWarning` lists identities whose names look the same.
    """
    warn_of_similar_names(identities)
    if dest is not None:
        write_faces(dest, np.asarray(labels, dtype=np.int64), identities, names, images)
        return FaceSet.load(dest)
    pixels = np.empty((len(labels), *IMAGE_SHAPE), dtype=np.uint8)
    for row, image in enumerate(images):
        pixels[row] = image
    return FaceSet(pixels, labels, identities, names)


def warn_of_similar_names(identities: Sequence[str]) -> None:
    """Emit one :class:`FacesWarning` for identities whose names look the same; they are not merged."""
    groups = groups_of_similar_names(identities)
    if groups:
        warnings.warn(
            f"{len(groups)} names occur in several spellings that look the same, which remain separate identities: "
            f"{format_name_groups(groups)}; if each is one person, use one name and import again",
            FacesWarning,
            stacklevel=4,
        )
