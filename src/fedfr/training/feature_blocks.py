"""Resumable feature extraction: features of many images, written to a folder block by block."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.archives import DAMAGED_ARCHIVE
from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, remove_leftovers, write_atomically, write_json
from fedfr.core.locks import locked

__all__ = ["FEATURE_BLOCK", "FeatureBlocks", "passing_blocks"]

FEATURE_BLOCK = 1024
FORMAT = "fedfr-features"

Features = NDArray[np.float32]
Make = Callable[[int, int], Features]
"""Function that returns the features (stop - first, dimensions) of the images ``first`` to ``stop - 1``."""


class FeatureBlocks:
    """Float32 features of ``count`` images in a folder, in files of ``FEATURE_BLOCK`` images, each with a checksum.

    ``about`` describes the images and the model as JSON values; they must be the same whenever the folder is used.
    After an interruption, the computation resumes at the first block that is missing or incomplete.
    """

    def __init__(self, folder: Path, count: int, about: Mapping[str, Any]) -> None:
        self.folder = folder
        self.count = count
        self._about = {"format": FORMAT, "images": count, "block": FEATURE_BLOCK, **about}

    def blocks(self, make: Make) -> Iterator[Features]:
        """Yield all features in order, one block (n, dimensions) at a time; ``make`` computes the missing blocks.

        Raises :class:`FedfrError` if the folder holds other features or other files or is in use by another process,
        and :class:`~fedfr.core.errors.WriteError` if it cannot be written; blocks written before are kept.
        """
        with self._opened():
            for first, stop in _ranges(self.count):
                path = self.folder / f"{first // FEATURE_BLOCK:06d}.npz"
                features = self._read(path, stop - first)
                if features is None:
                    features = make(first, stop)
                    self._write(path, features)
                yield features

    def _read(self, path: Path, count: int) -> Features | None:
        """Read one block; return None if it is missing or damaged, so that it is computed again."""
        try:
            with zipfile.ZipFile(path) as archive:
                if any(each.compress_type != zipfile.ZIP_STORED for each in archive.infolist()):
                    return None  # not written by this class, and its unpacked size is unknown
            with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                features = content["features"]
        except DAMAGED_ARCHIVE:
            return None
        right = features.dtype == np.float32 and features.ndim == 2 and len(features) == count
        return features if right else None

    def _write(self, path: Path, features: Features) -> None:
        def save(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, features=features)

        write_atomically(path, save)

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Create or check the folder and lock it for this process."""
        described = self.folder / "features.json"
        # Checked first: no lock file may be written into an unrelated folder.
        if self.folder.is_dir() and not described.exists() and any(map(_is_visible, self.folder.iterdir())):
            raise FedfrError(f"{self.folder} contains other files; give a new or empty folder for the features")
        with locked(self.folder):
            if described.exists():
                self._compare(read_json(described))
            else:
                write_json(described, self._about)
            remove_leftovers(self.folder)
            yield

    def _compare(self, kept: Any) -> None:
        entries = kept if isinstance(kept, dict) else {}
        for name, value in self._about.items():
            if entries.get(name) != value:
                raise FedfrError(
                    f"{self.folder} contains features with {name} {entries.get(name)!r}, but this command computes "
                    f"features with {name} {value!r}; give another folder"
                )


def passing_blocks(count: int, make: Make) -> Iterator[Features]:
    """Yield the features of ``count`` images in blocks like :meth:`FeatureBlocks.blocks`, without storing them."""
    return (make(first, stop) for first, stop in _ranges(count))


def _ranges(count: int) -> list[tuple[int, int]]:
    return [(first, min(first + FEATURE_BLOCK, count)) for first in range(0, count, FEATURE_BLOCK)]


def _is_visible(path: Path) -> bool:
    return not path.name.startswith(".")
