"""Features on disk that the processes of one run compute together, each piece once."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import torch

from fedfr.files import write_atomically

__all__ = ["FeatureStore"]

Compute = Callable[[int], torch.Tensor]


class FeatureStore:
    """One memory-mapped ``.npy`` file per chunk of faces, in a folder for the newest model; it may go at any time.

    Processes share the work: each takes the next chunk that nobody is at, and waits for the others in the end. A chunk
    is locked while it is computed; the lock goes with its process, however that ends, and another takes the chunk over.
    Files are written atomically, so one that exists is whole.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fetch(self, model: str, chunks: Sequence[str], compute: Compute) -> Sequence[torch.Tensor]:
        """Features (n, D) of every chunk under ``model``; ``compute(number)`` gives those that are not there yet.

        ``model`` and ``chunks`` name everything the bits depend on, and are names of a folder and of files in it.
        Features of other models are removed. Raises :class:`fedfr.errors.FedfrError` when they cannot be written.
        """
        here = self.folder / model
        here.mkdir(parents=True, exist_ok=True)
        for old in self.folder.iterdir():
            if old != here:
                shutil.rmtree(old, ignore_errors=True)  # another process may be removing it, too
        found: dict[int, torch.Tensor] = {}
        with (here / "lock").open("a") as lock:
            for wait in (False, True):
                for number, chunk in enumerate(chunks):
                    if number not in found:
                        piece = _piece(here / f"{chunk}.npy", lock, number, wait, compute)
                        found |= {} if piece is None else {number: piece}
        return [found[number] for number in range(len(chunks))]


def _piece(path: Path, lock: IO[str], number: int, wait: bool, compute: Compute) -> torch.Tensor | None:
    """One chunk, from its file or computed; None when another process is at it and we do not ``wait``."""
    found = _read(path)
    if found is not None:
        return found
    try:
        # A lock on one byte of the file: one file, however many chunks.
        fcntl.lockf(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, number)
    except OSError:
        if wait:
            raise
        return None
    try:
        found = _read(path)  # finished by another process a moment ago
        if found is None:
            made = compute(number)
            write_atomically(path, partial(_write, made.numpy()))
            found = _read(path)
        return made if found is None else found
    finally:
        fcntl.lockf(lock, fcntl.LOCK_UN, 1, number)


def _write(features: np.ndarray, path: Path) -> None:
    with path.open("wb") as file:  # np.save would add a suffix to the temporary name
        np.save(file, features, allow_pickle=False)


def _read(path: Path) -> torch.Tensor | None:
    """The file memory-mapped; None when it is missing or damaged and must be made again."""
    try:
        # Copy-on-write, though nobody writes: torch warns of arrays it must not write to.
        return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return None
