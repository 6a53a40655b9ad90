"""Reading one picture file into RGB, and gathering many of them into a set of faces."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fedfr.errors import FedfrError
from fedfr.faces.compressed import decode, is_damaged_png, resize
from fedfr.faces.faceset import FaceSet
from fedfr.faces.importers.pgm import PGM_HEADER, mend_line_ends
from fedfr.faces.likenames import alike, list_alike
from fedfr.faces.storage import IMAGE_SHAPE, write_faces

__all__ = ["FacesWarning", "Fit", "Progress", "gather", "keep", "read_image", "resize", "to_rgb", "warn_of_names"]

Progress = Callable[[int, int], None]
"""Called with images done and images in all."""

Fit = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Brings an RGB picture of any size to 112x112."""


class FacesWarning(UserWarning):
    """Something about the given pictures that a user should know, though the import went on."""


def to_rgb(content: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """A picture file's pixels (height, width, 3) as :func:`read_image` gives them; None where it is broken."""
    start = content[:1024].tobytes()
    if is_damaged_png(content.data):
        return None
    header = PGM_HEADER.match(start)
    if header:
        content = np.frombuffer(mend_line_ends(content.tobytes(), header), dtype=np.uint8)
    if header and int(header[3]) not in (0, 255, 65535):
        # OpenCV keeps the raw values of such a file: 12-bit pictures would come out almost black.
        grey = decode(content, cv2.IMREAD_UNCHANGED)
        if grey is None:
            return None
        scaled = np.rint(grey.astype(np.float64) * (255 / int(header[3]))).clip(0, 255).astype(np.uint8)
        return np.repeat(scaled[:, :, None], 3, axis=2)
    bgr = decode(content, cv2.IMREAD_COLOR)
    return None if bgr is None else np.ascontiguousarray(bgr[:, :, ::-1])


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode one picture to (height, width, 3) RGB, 8 bits: grey is repeated, 16 bits reduced, transparency dropped.

    Raises :class:`FedfrError` naming the file when it cannot be read or is cut short.
    """
    try:
        # Not cv2.imread: it fails on some paths that are not ASCII, and only prints when a file is corrupt.
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise FedfrError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    image = to_rgb(content) if content.size else None
    if image is None:
        raise FedfrError(f"{path} is not a readable picture (corrupt, cut short or empty); replace or remove it")
    return image


def gather(
    files: Sequence[Path],
    labels: Sequence[int],
    identities: Sequence[str],
    names: Sequence[str],
    fit: Fit,
    dest: Path | None,
    progress: Progress | None = None,
) -> FaceSet:
    """Read every file, bring it to 112x112 with ``fit``, and keep the set in memory or, with ``dest``, on disk.

    With ``dest`` no more than one picture is in memory at a time and the returned set is memory-mapped.
    """

    def images() -> Iterator[NDArray[np.uint8]]:
        for done, file in enumerate(files, start=1):
            yield fit(read_image(file))
            if progress is not None:
                progress(done, len(files))

    return keep(images(), labels, identities, names, dest)


def keep(
    images: Iterable[NDArray[np.uint8]],
    labels: Sequence[int],
    identities: Sequence[str],
    names: Sequence[str],
    dest: Path | None,
) -> FaceSet:
    """Keep images (112, 112, 3), one per label, in memory or, one at a time, on disk as a memory-mapped set.

    One :class:`FacesWarning` names identities whose names look the same.
    """
    warn_of_names(identities)
    if dest is not None:
        write_faces(dest, np.asarray(labels, dtype=np.int64), identities, names, images)
        return FaceSet.load(dest)
    pixels = np.empty((len(labels), *IMAGE_SHAPE), dtype=np.uint8)
    for row, image in enumerate(images):
        pixels[row] = image
    return FaceSet(pixels, labels, identities, names)


def warn_of_names(identities: Sequence[str]) -> None:
    """One :class:`FacesWarning` for identities whose names look the same; they stay apart."""
    groups = alike(identities)
    if groups:
        warnings.warn(
            f"{len(groups)} names are spelled in several ways that look the same, and stay apart as identities: "
            f"{list_alike(groups)}; if they are one person each, give them one name and import again",
            FacesWarning,
            stacklevel=4,
        )
