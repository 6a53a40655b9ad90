"""Features of more images than one sitting allows, kept in a folder block by block."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.files import locked, read_json, remove_leftovers, write_atomically, write_json

__all__ = ["FEATURE_BLOCK", "FeatureBlocks", "passing_blocks"]

FEATURE_BLOCK = 1024
FORMAT = "fedfr-features"

Features = NDArray[np.float32]
Make = Callable[[int, int], Features]
"""Gives the features (stop - first, dimensions) of the images from ``first`` up to ``stop``."""


class FeatureBlocks:
    """Features of ``count`` images, float32, in files of ``FEATURE_BLOCK`` images with a checksum each.

    ``about`` says what they are features of and by which model: JSON values that must be the same whenever the folder
    is used. Work that was killed goes on at the first block that is not there whole.
    """

    def __init__(self, folder: Path, count: int, about: Mapping[str, Any]) -> None:
        self.folder = folder
        self.count = count
        self._about = {"format": FORMAT, "images": count, "block": FEATURE_BLOCK, **about}

    def blocks(self, make: Make) -> Iterator[Features]:
        """All features in order, a block (n, dimensions) at a time; ``make`` gives those not kept yet.

        Raises :class:`FedfrError` for a folder of other features or other files, or that another process uses, and
        :class:`~fedfr.core.errors.WriteError` where it cannot be written; blocks written before then stay.
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
        """One block; None where it is not there, or not whole: it is then made again."""
        try:
            with zipfile.ZipFile(path) as archive:
                if any(each.compress_type != zipfile.ZIP_STORED for each in archive.infolist()):
                    return None  # none of ours, and nothing says how large it would be
            with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                features = content["features"]
        except (OSError, ValueError, KeyError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile):
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
        """Check or begin the folder; only one process may work on it."""
        described = self.folder / "features.json"
        # Before a lock of ours lies in somebody's folder.
        if self.folder.is_dir() and not described.exists() and any(map(_is_visible, self.folder.iterdir())):
            raise FedfrError(f"{self.folder} holds other files; name a new or empty folder for the features")
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
                    f"{self.folder} holds features of {name} {entries.get(name)!r}, these are of {value!r}; name "
                    "another folder for them"
                )


def passing_blocks(count: int, make: Make) -> Iterator[Features]:
    """The same blocks, kept nowhere."""
    return (make(first, stop) for first, stop in _ranges(count))


def _ranges(count: int) -> list[tuple[int, int]]:
    return [(first, min(first + FEATURE_BLOCK, count)) for first in range(0, count, FEATURE_BLOCK)]


def _is_visible(path: Path) -> bool:
    return not path.name.startswith(".")
