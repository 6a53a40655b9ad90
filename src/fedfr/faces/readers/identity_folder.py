"""Import of a folder of images with one sub-folder per identity."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.faceset import FaceSet
from fedfr.faces.readers.image_reading import FacesWarning, Progress, build_face_set, resize
from fedfr.faces.readers.listing import SUFFIXES, check_apart, find_source, list_images
from fedfr.faces.storage import IMAGE_SHAPE, check_destination

__all__ = ["SUFFIXES", "import_folder"]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def import_folder(
    path: str | os.PathLike[str],
    dest: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    *,
    skip_bad: bool = False,
) -> FaceSet:
    """Import ``path``/<identity>/<image>, identities and images sorted by name.

    Images (jpg, jpeg, png, pgm, bmp in any case; grey or colour) should be aligned and 112x112; others are resized,
    with one :class:`FacesWarning` that counts them. Hidden files are skipped; other files, broken links, nested
    folders and identities without images are left out, with one warning that counts them. With ``dest`` the set is
    written there and memory-mapped, so that memory stays bounded; ``progress`` is called with the number of images
    done and of all images. Raises :class:`FedfrError` for a missing or empty folder and for unreadable images, with
    their number and the first of them; with ``skip_bad`` these are left out
    (:func:`~fedfr.faces.readers.image_reading.build_face_set`).

    >>> import tempfile
    >>> from pathlib import Path
    >>> import cv2
    >>> import numpy as np
    >>> from fedfr import import_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for identity in ("ada", "bob"):
    ...         (Path(folder) / identity).mkdir()
    ...         for number in range(2):
    ...             written = cv2.imwrite(f"{folder}/{identity}/{number}.png", np.full((112, 112, 3), number, np.uint8))
    ...     faces = import_folder(folder)
    >>> faces.identities, faces.names
    (('ada', 'bob'), ('ada/0.png', 'ada/1.png', 'bob/0.png', 'bob/1.png'))
    """
    source = find_source(path)
    target = None if dest is None else Path(dest).resolve()
    if target is not None:
        check_apart(source, target)
        check_destination(target)

    listing = list_images(source, readable=True)
    others, empty = len(listing.others) - len(listing.broken), len(listing.empty)
    broken = len(listing.broken)

    resized = 0

    def fit(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        nonlocal resized
        resized += image.shape != IMAGE_SHAPE
        return resize(image)

    faces = build_face_set(
        listing.files, listing.labels, listing.identities, listing.names, fit, target, progress, skip_bad=skip_bad
    )
    if resized:
        images_were = _count(resized, "image was", "images were")
        warnings.warn(
            f"{images_were} not 112x112 and resized without alignment; align faces first for full accuracy "
            "(photographs: `fedfr faces import --align yunet`)",
            FacesWarning,
            stacklevel=2,
        )
    if others or empty or broken:
        left = [
            _count(number, one, many)
            for number, one, many in (
                (broken, "broken link or special file", "broken links or special files"),
                (others, "other file or nested folder", "other files or nested folders"),
                (empty, "identity folder without images", "identity folders without images"),
            )
            if number
        ]
        warnings.warn(f"{source}: left out {' and '.join(left)}", FacesWarning, stacklevel=2)
    return faces
