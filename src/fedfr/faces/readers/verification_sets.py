"""Verification sets of image pairs as InsightFace publishes them: ``lfw.bin``, ``cfp_fp.bin`` and others."""

from __future__ import annotations

import hashlib
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
"""Greatest file size in bytes: a set is kept in memory; published ones have 10 to 300 MB."""


class PairImages(DecodedPixels):
    """Pixel source over compressed images of 112x112 in memory, decoded on access."""

    def __init__(self, images: Sequence[bytes], path: Path) -> None:
        self._images = images
        self._path = path

    def __len__(self) -> int:
        return len(self._images)

    def encoded(self, row: int) -> bytes:
        """Return the compressed image of one row."""
        return self._images[row]

    def decoded(self, row: int) -> NDArray[np.uint8]:
        """Return the pixels (112, 112, 3) of one row; raises :class:`FedfrError` for a damaged image."""
        check_size(self._images[row], row, self._path)
        try:
            return decode_image(self._images[row])
        except ValueError as error:
            raise FedfrError(f"{self._path}: image {row} of pair {row // 2} {error}; fetch it again") from error


def check_size(image: bytes, row: int, path: Path) -> None:
    """Raise :class:`FedfrError` unless an image is a JPEG or PNG of 112x112 by its header; it is not decoded."""
    size = image_size(image)
    if size is None:
        start = image[:4].hex(" ") or "nothing"
        raise FedfrError(
            f"{path}: image {row} of pair {row // 2} holds no JPEG or PNG (it starts with {start}); fetch it again"
        )
    if size != IMAGE_SHAPE[:2]:
        raise FedfrError(
            f"{path}: image {row} of pair {row // 2} is {size[1]}x{size[0]}; expected "
            "aligned faces of 112x112; align the images first, resizing is not enough"
        )


@dataclass(frozen=True, repr=False)
class VerificationSet(Brief):
    """A verification set: 2·P compressed ``images``, pair k being 2k and 2k+1; ``same`` (P,) marks genuine pairs.

    >>> import numpy as np
    >>> from pathlib import Path
    >>> from fedfr.faces import VerificationSet
    >>> VerificationSet(Path("lfw.bin"), (b"", b""), np.array([True])).name
    'lfw'
    """

    path: Path
    images: tuple[bytes, ...]
    same: NDArray[np.bool_]

    @property
    def name(self) -> str:
        """File name without its suffix, such as ``lfw``."""
        return self.path.stem

    def fingerprint(self) -> str:
        """Return the hexadecimal SHA-256 of compressed images and labels, however the file stores them."""
        found = hashlib.sha256(self.same.tobytes())
        for image in self.images:
            found.update(len(image).to_bytes(8, "little") + image)
        return found.hexdigest()

    def faces(self) -> FaceSet:
        """Return all 2·P images in order as a face set, decoded on access, under one label (identities are unknown)."""
        return FaceSet(PairImages(self.images, self.path), np.zeros(len(self.images), np.int64), ["unknown"])

    def distinct(self) -> tuple[FaceSet, NDArray[np.int64]]:
        """Return :meth:`faces` without repeated images, and for each of the 2·P images its index there."""
        first: dict[bytes, int] = {}
        rows = [row for row, image in enumerate(self.images) if first.setdefault(image, row) == row]
        place = {row: number for number, row in enumerate(rows)}
        indices = [place[first[image]] for image in self.images]
        return self.faces().subset(rows), np.asarray(indices, np.int64)


def verification_sets(path: Path) -> list[Path]:
    """Return the ``.bin`` files at ``path``: itself, or those in a folder sorted by name; empty for anything else.

    >>> from pathlib import Path
    >>> from fedfr.faces import verification_sets
    >>> [path.name for path in verification_sets(Path("sets/lfw.bin"))]
    ['lfw.bin']
    """
    if path.suffix == SUFFIX and not path.is_dir():
        return [path]
    return sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else []


def read_verification_set(path: str | os.PathLike[str]) -> VerificationSet:
    """Read a ``.bin`` verification set, one pickle of ``(images, same)``, without executing code from it.

    Pickles of Python 2 and 3 are supported. Raises :class:`FedfrError` for a truncated file, any other content, and an
    image that is not a JPEG or PNG of 112x112.

    >>> from pathlib import Path
    >>> import tempfile
    >>> import numpy as np
    >>> from fedfr.faces import FaceSet, pack_pairs, read_verification_set
    >>> faces = FaceSet(np.zeros((2, 112, 112, 3), np.uint8), [0, 0], ["a"], ["a/1.png", "a/2.png"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "pairs.csv").write_text("a/1.png,a/2.png")
    ...     _ = pack_pairs(faces, Path(folder, "pairs.csv"), Path(folder, "own.bin"))
    ...     found = read_verification_set(Path(folder, "own.bin"))
    >>> found.same.tolist(), found.faces().images([0, 1]).shape
    ([True], (2, 112, 112, 3))
    """
    path = Path(path)
    content = _content(path)
    try:
        found = read_plain_pickle(content)
    except ValueError as error:
        raise FedfrError(f"{path} is not a complete set of verification pairs ({error}); fetch it again") from error
    parts = list(found) if isinstance(found, tuple | list) else []
    if len(parts) != 2 or not isinstance(parts[0], list) or not isinstance(parts[1], list | np.ndarray):
        raise FedfrError(f"{path} does not hold a list of images and a list of labels; give a file such as lfw.bin")
    same = _pair_labels(parts[1], path)
    images = _images(parts[0], path)
    if len(images) != 2 * len(same) or not len(same):
        raise FedfrError(
            f"{path} holds {len(images)} images for {len(same)} pairs; expected two per pair, at least one pair"
        )
    for row, image in enumerate(images):
        check_size(image, row, path)
    return VerificationSet(path, images, same)


def _content(path: Path) -> bytes:
    try:
        # Reading a pipe would block, reading a device would not end.
        if path.exists() and not path.is_file() and not path.is_dir():
            raise FedfrError(f"{path} is not a regular file; give a file such as lfw.bin")
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise FedfrError(
                f"{path} has {path.stat().st_size:,} bytes, at most {MAX_BYTES:,} are read; split it into several"
            )
        return path.read_bytes()
    except OSError as error:
        raise FedfrError(f"cannot read {path}: {error.strerror or error}; give a file such as lfw.bin") from error


def _images(found: list[Any], path: Path) -> tuple[bytes, ...]:
    # By object identity: an array that occurs in the list a million times is converted to bytes once.
    made: dict[int, bytes] = {}
    for row, image in enumerate(found):
        if isinstance(image, np.ndarray) and image.dtype == np.uint8:
            if id(image) not in made:
                made[id(image)] = image.tobytes()
        elif not isinstance(image, bytes):
            raise FedfrError(f"{path}: image {row} is {type(image).__name__}, not compressed bytes; fetch it again")
    return tuple(image if isinstance(image, bytes) else made[id(image)] for image in found)


def _pair_labels(found: list[Any] | NDArray[Any], path: Path) -> NDArray[np.bool_]:
    if isinstance(found, np.ndarray):
        if found.dtype != np.bool_ or found.ndim != 1:
            raise FedfrError(f"{path}: labels are {found.dtype} {found.shape}; expected one bool per pair")
        return found.copy()
    for number, value in enumerate(found):
        # Only integers are shown: a list may contain itself many times.
        if type(value) not in (bool, int) or value not in (0, 1):
            shown = repr(value) if isinstance(value, int) else type(value).__name__
            raise FedfrError(f"{path}: pair {number} has the label {shown}; expected true or false")
    return np.array(found, np.bool_)
