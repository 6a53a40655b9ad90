"""Sets of image pairs to verify as InsightFace ships them, ``lfw.bin``, ``cfp_fp.bin`` and others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.short_repr import Brief
from fedfr.faces.encoded_images import decode_image
from fedfr.faces.faceset import FaceSet
from fedfr.faces.image_headers import image_size
from fedfr.faces.pixels import IMAGE_SHAPE, DecodedPixels
from fedfr.faces.readers.safe_pickle import read_plain_pickle

__all__ = ["SUFFIX", "PairImages", "VerificationSet", "read_verification_set", "verification_sets"]

SUFFIX = ".bin"
MAX_BYTES = 1 << 31
"""Published sets have 10 to 300 MB; a whole set is kept in memory."""


class PairImages(DecodedPixels):
    """A source of pixels over compressed images in memory, decoded when asked for; all must be 112x112."""

    def __init__(self, images: Sequence[bytes], path: Path) -> None:
        self._images = images
        self._path = path

    def __len__(self) -> int:
        return len(self._images)

    def encoded(self, row: int) -> bytes:
        """The image as it lies in the set."""
        return self._images[row]

    def decoded(self, row: int) -> NDArray[np.uint8]:
        """The image of one row."""
        check_size(self._images[row], row, self._path)
        try:
            return decode_image(self._images[row])
        except ValueError as error:
            raise FedfrError(f"{self._path}: image {row} of pair {row // 2} {error}; fetch it again") from error


def check_size(image: bytes, row: int, path: Path) -> None:
    """Raise :class:`FedfrError` unless an image announces itself as JPEG or PNG of 112x112; it is not decoded."""
    size = image_size(image)
    if size is None:
        start = image[:4].hex(" ") or "nothing"
        raise FedfrError(
            f"{path}: image {row} of pair {row // 2} holds no JPEG or PNG (it starts with {start}); fetch it again"
        )
    if size != IMAGE_SHAPE[:2]:
        raise FedfrError(
            f"{path}: image {row} of pair {row // 2} is {size[1]}x{size[0]}; expected "
            "aligned faces of 112x112, which cannot be made by resizing: align them first"
        )


@dataclass(frozen=True, repr=False)
class VerificationSet(Brief):
    """``images`` holds 2·P compressed images, pair k is 2k and 2k+1; ``same`` (P,) says which show one person."""

    path: Path
    images: tuple[bytes, ...]
    same: NDArray[np.bool_]

    @property
    def name(self) -> str:
        """``lfw`` of ``lfw.bin``."""
        return self.path.stem

    def faces(self) -> FaceSet:
        """All images in order as a set of faces, decoded when asked for; who is shown is not known."""
        return FaceSet(PairImages(self.images, self.path), np.zeros(len(self.images), np.int64), ["somebody"])

    def distinct(self) -> tuple[FaceSet, NDArray[np.int64]]:
        """:meth:`faces` with each image once, and for each of the 2·P where in it the image is."""
        first: dict[bytes, int] = {}
        rows = [row for row, image in enumerate(self.images) if first.setdefault(image, row) == row]
        place = {row: number for number, row in enumerate(rows)}
        where = [place[first[image]] for image in self.images]
        return self.faces().subset(rows), np.asarray(where, np.int64)


def verification_sets(path: Path) -> list[Path]:
    """The ``.bin`` files that ``path`` means: itself, or those in a folder by name; none where it is something else."""
    if path.suffix == SUFFIX and not path.is_dir():
        return [path]
    return sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else []


def read_verification_set(path: str | os.PathLike[str]) -> VerificationSet:
    """Read a ``.bin``: one pickle of ``(images, same)``, by Python 2 or 3; no code in it is run.

    Raises :class:`FedfrError` for anything else, when it is cut short, and when an image is no JPEG or PNG of 112x112.
    """
    path = Path(path)
    content = _content(path)
    try:
        found = read_plain_pickle(content)
    except ValueError as error:
        raise FedfrError(f"{path} is no whole set of verification pairs ({error}); fetch it again") from error
    parts = list(found) if isinstance(found, tuple | list) else []
    if len(parts) != 2 or not isinstance(parts[0], list) or not isinstance(parts[1], list | np.ndarray):
        raise FedfrError(f"{path} holds no two lists, images and truth values; give a file such as lfw.bin")
    same = _truths(parts[1], path)
    images = _images(parts[0], path)
    if len(images) != 2 * len(same) or not len(same):
        raise FedfrError(
            f"{path} holds {len(images)} images for {len(same)} pairs; expected two for each, and one pair at least"
        )
    for row, image in enumerate(images):
        check_size(image, row, path)
    return VerificationSet(path, images, same)


def _content(path: Path) -> bytes:
    try:
        # A pipe would be waited for, a device never ends.
        if path.exists() and not path.is_file() and not path.is_dir():
            raise FedfrError(f"{path} is no ordinary file; give a file such as lfw.bin")
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise FedfrError(
                f"{path} has {path.stat().st_size:,} bytes, at most {MAX_BYTES:,} are read; divide it into several"
            )
        return path.read_bytes()
    except OSError as error:
        raise FedfrError(f"cannot read {path}: {error.strerror or error}; give a file such as lfw.bin") from error


def _images(found: list[Any], path: Path) -> tuple[bytes, ...]:
    # By identity: one array that stands in the list a million times is made into bytes once.
    made: dict[int, bytes] = {}
    for row, image in enumerate(found):
        if isinstance(image, np.ndarray) and image.dtype == np.uint8:
            if id(image) not in made:
                made[id(image)] = image.tobytes()
        elif not isinstance(image, bytes):
            raise FedfrError(f"{path}: image {row} is {type(image).__name__}, not compressed bytes; fetch it again")
    return tuple(image if isinstance(image, bytes) else made[id(image)] for image in found)


def _truths(found: list[Any] | NDArray[Any], path: Path) -> NDArray[np.bool_]:
    if isinstance(found, np.ndarray):
        if found.dtype != np.bool_ or found.ndim != 1:
            raise FedfrError(f"{path}: truth values are {found.dtype} {found.shape}; expected one bool for each pair")
        return found.copy()
    for number, value in enumerate(found):
        # Only what is small is shown: a list may hold itself many times over.
        if type(value) not in (bool, int) or value not in (0, 1):
            shown = repr(value) if isinstance(value, int) else type(value).__name__
            raise FedfrError(f"{path}: pair {number} is marked {shown}; expected true or false")
    return np.array(found, np.bool_)
