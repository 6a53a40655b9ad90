"""Features on disk that the processes of one run compute together, each piece once."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import torch

from fedfr.core.array_files import map_array
from fedfr.core.errors import WriteError
from fedfr.core.files import write_atomically

__all__ = ["FeatureStore"]

# Beside the lock of the chunks: on network file systems the two kinds of locks would meet in one file.
USED = ".used"

Compute = Callable[[int], torch.Tensor]


class FeatureStore:
    """One memory-mapped ``.npy`` file per chunk of faces, in a folder for the newest model; it may go at any time.

    Processes share the work: each takes the next chunk that nobody is at, and waits for the others in the end. A chunk
    is locked while it is computed; the lock goes with its process, however that ends, and another takes the chunk over.
    Files are written atomically, so one that exists is whole. A model's folder is in use from when it is fetched until
    the same store fetches another's or its process ends; only folders that nobody uses are removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._release: Callable[[], object] = _nothing

    def fetch(self, model: str, chunks: Sequence[str], compute: Compute) -> Sequence[torch.Tensor]:
        """Features (n, D) of every chunk under ``model``; ``compute(number)`` gives those that are not there yet.

        ``model`` and ``chunks`` name everything the bits depend on, and are names of a folder and of files in it.
        Features of other models are removed where no process uses them. Raises
        :class:`fedfr.core.errors.WriteError` when the folder cannot be written.
        """
        self._release()
        here = self.folder / model
        with _writing(here):
            self._release = weakref.finalize(self, os.close, _use(here))
            self._remove_others(here)
        found: dict[int, torch.Tensor] = {}
        with _opened(here / "lock") as lock:
            for wait in (False, True):
                for number, chunk in enumerate(chunks):
                    if number not in found:
                        piece = _piece(here / f"{chunk}.npy", lock, number, wait, compute)
                        found |= {} if piece is None else {number: piece}
        return [found[number] for number in range(len(chunks))]

    def _remove_others(self, here: Path) -> None:
        for old in self.folder.iterdir():
            if old == here:
                continue
            try:
                descriptor = os.open(old / USED, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError:
                continue  # Another process was faster, or it is no folder of ours.
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # First out of the way in one step: whoever comes for this model meanwhile begins a new folder.
                aside = old if old.name.endswith(".tmp") else old.with_name(f".{old.name}.{os.getpid()}.tmp")
                if aside != old:
                    old.rename(aside)
                shutil.rmtree(aside, ignore_errors=True)
            except OSError:
                continue  # Somebody uses it.
            finally:
                os.close(descriptor)


def _use(folder: Path) -> int:
    """Make ``folder`` where it is not there, and hold it: the descriptor of a lock that keeps others from removing it.

    Many processes may hold it at a time.
    """
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            if folder.exists() and not folder.is_dir():
                raise
            continue  # There when it was to be made, and removed before it was looked at.
        try:
            descriptor = os.open(folder / USED, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            continue  # Removed this moment: begin again.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(descriptor), (folder / USED).stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # What was locked is the file of a folder that has been removed since.


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"cannot keep features in {folder}: {error.strerror}; free space or make the folder writable"
        ) from error


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    """The file whose bytes are locked, one for each chunk."""
    with _writing(path.parent):
        file = path.open("a")
    with file:
        yield file


def _nothing() -> None:
    """No folder is in use."""


def _piece(path: Path, lock: IO[str], number: int, wait: bool, compute: Compute) -> torch.Tensor | None:
    """One chunk, from its file or computed; None when another process is at it and we do not ``wait``."""
    found = _read(path)
    if found is not None:
        return found
    try:
        # A lock on one byte of the file: one file, however many chunks.
        fcntl.lockf(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, number)
    except OSError as error:
        if wait or error.errno not in (errno.EAGAIN, errno.EACCES):
            raise WriteError(f"cannot lock {lock.name}: {error.strerror}; choose a folder on another disk") from error
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
        return torch.from_numpy(map_array(path, "c"))
    except (OSError, ValueError, EOFError):
        return None
