"""Images of an IJB benchmark with their templates, media and landmarks."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.operating_system import usable_cores
from fedfr.faces.alignment.template import similarity
from fedfr.faces.pixels import IMAGE_SHAPE
from fedfr.faces.readers.ijb.text_lines import parse_whole_number, quoted, word_lines
from fedfr.faces.readers.image_reading import read_image

__all__ = ["IjbImages", "read_ijb_images"]

MEMBERSHIP = ("name", "template", "medium")
POINTS = ("name", "x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4", "x5", "y5", "score")
LARGEST = 1_000_000
# Squared pixels: only faces with a smaller spread of points need the full check.
SUSPICIOUS_SPREAD = 1e-3


@dataclass(frozen=True)
class IjbImages:
    """N images of T templates, in the order of the files; images are read and aligned on access.

    ``points`` (N, 5, 2) are in pixels; ``faceness`` (N,) is the detector's score; ``template_ids`` (T,) ascend;
    ``templates`` (N,) is the row of each image's template; ``media_sizes`` (N,) is the number of images of the same
    template and medium (a still, or the frames of one video).
    """

    folder: Path
    names: tuple[str, ...]
    points: NDArray[np.float32]
    faceness: NDArray[np.float32]
    template_ids: NDArray[np.int64]
    templates: NDArray[np.int64]
    media_sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def pixels(self, first: int, stop: int) -> NDArray[np.uint8]:
        """Return faces (stop - first, 112, 112, 3) aligned as InsightFace does: bilinearly, black outside the image.

        Raises :class:`FedfrError` for an image that cannot be read.
        """
        pixels = np.empty((stop - first, *IMAGE_SHAPE), np.uint8)

        def put(row: int) -> None:
            # Not `align`, which first reduces large faces by averaging: published metrics use plain warping.
            matrix, path = similarity(self.points[row]), self.folder / self.names[row]
            try:
                pixels[row - first] = cv2.warpAffine(read_image(path), matrix, (IMAGE_SHAPE[1], IMAGE_SHAPE[0]))
            except cv2.error as error:
                raise FedfrError(f"{path} is too large to align; replace it by a crop of the face") from error

        with ThreadPoolExecutor(usable_cores()) as threads:
            for _ in threads.map(put, range(first, stop)):
                pass
        return pixels

    def digest(self) -> str:
        """Return the hexadecimal SHA-256 of names and points, which identifies the faces."""
        total = hashlib.sha256("\n".join(self.names).encode())
        total.update(self.points.astype("<f4").tobytes())
        return total.hexdigest()

    def missing(self) -> list[int]:
        """Return the rows of the images without a file; raises :class:`FedfrError` if the folder cannot be read."""
        try:
            present = {entry.name for entry in os.scandir(self.folder)}
        except OSError as error:
            raise FedfrError(f"cannot read the folder {self.folder}: {error.strerror or error}; check it") from error
        # Names in sub-folders are checked one by one; the published lists have none.
        return [
            row
            for row, name in enumerate(self.names)
            if name not in present and not ("/" in name and (self.folder / name).is_file())
        ]


def read_ijb_images(folder: Path, membership: Path, points: Path) -> IjbImages:
    """Read both lists of the images in ``folder``; their lines correspond one to one.

    Raises :class:`FedfrError` naming file and line for an invalid column, a value that is not finite, a name that is
    listed twice or differs between the files, and points that do not determine an alignment; for lists of different
    lengths; and for missing images.
    """
    names, ids = _read_membership(membership)
    found = _read_points(points, membership, names)
    template_ids, templates = np.unique(ids[:, 0], return_inverse=True)
    _, group, sizes = np.unique(ids, axis=0, return_inverse=True, return_counts=True)
    images = IjbImages(
        folder,
        names,
        found[:, :10].reshape(-1, 5, 2),
        found[:, 10],
        template_ids,
        templates.reshape(-1),
        sizes[group.reshape(-1)],
    )
    missing = images.missing()
    if missing:
        where = f"{membership}, line {missing[0] + 1}"
        raise FedfrError(
            f"{folder} lacks {len(missing)} of {len(names)} images, first {names[missing[0]]} ({where}); "
            "unpack the set again"
        )
    return images


def _read_membership(path: Path) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the names, and template and medium (N, 2)."""
    first: dict[str, str] = {}
    ids: list[tuple[int, int]] = []
    for where, (name, template, medium) in word_lines(path, MEMBERSHIP):
        if name in first:
            raise FedfrError(f"{where}: image {name} is listed in {first[name].rpartition(', ')[2]} already; keep one")
        if name.startswith("/") or ".." in name.split("/"):
            raise FedfrError(f"{where}: image {name} is outside the folder of images; give its path in the folder")
        first[name] = where
        ids.append(
            (parse_whole_number(template, where, "the template"), parse_whole_number(medium, where, "the medium"))
        )
    return tuple(first), np.array(ids, np.int64)


def _read_points(path: Path, membership: Path, names: tuple[str, ...]) -> NDArray[np.float32]:
    """Return points and score (N, 11)."""
    values = np.empty((len(names), 11), np.float32)
    row = -1
    for row, (where, words) in enumerate(word_lines(path, POINTS)):
        if row == len(names):
            raise FedfrError(f"{where}: {membership} ends after line {len(names)}; fetch both again")
        if words[0] != names[row]:
            raise FedfrError(f"{where}: image {words[0]}, but {membership} has {names[row]} there; fetch both again")
        try:
            numbers = [float(word) for word in words[1:]]
        except ValueError as error:
            raise FedfrError(f"{where}: {error}; expected five points and a score as numbers") from error
        if not all(abs(number) <= LARGEST for number in numbers) or numbers[10] < 0:
            found = quoted(" ".join(words[1:]))
            raise FedfrError(f"{where}: found {found}; expected numbers up to {LARGEST:,}, the score not below 0")
        values[row] = numbers
    if row + 1 < len(names):
        raise FedfrError(f"{path} ends after line {row + 1}, {membership} has {len(names)}; it may be truncated")
    points = values[:, :10].reshape(-1, 5, 2).astype(np.float64)
    spread = np.square(points - points.mean(axis=1, keepdims=True)).sum(axis=(1, 2))
    for row in np.flatnonzero(spread < SUSPICIOUS_SPREAD).tolist():
        try:
            similarity(points[row])
        except FedfrError as error:
            raise FedfrError(f"{path}, line {row + 1}: {error}") from error
    return values
