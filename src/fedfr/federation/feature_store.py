"""Features on disk, computed once and shared by the processes of a run."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
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

# A separate file: on network file systems this lock and the locks of the chunks would conflict in one file.
USED = ".used"

Compute = Callable[[int], torch.Tensor]


class FeatureStore:
    """Cache with one memory-mapped ``.npy`` file per chunk of faces, and its cost, in one folder per model.

    Processes share the work: each computes the next chunk that no other process has locked, and finally waits for the
    rest. The lock of a chunk ends with its process, after which another process computes the chunk. Files are written
    atomically, so an existing file is complete. A model's folder is in use from :meth:`fetch` until the same store
    fetches another model or its process ends; only unused folders are removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._release: Callable[[], object] = _nothing

    def fetch(self, model: str, chunks: Sequence[str], compute: Compute) -> Sequence[torch.Tensor]:
        """Return features (n, D) of every chunk under ``model``; ``compute(number)`` makes the missing ones.

        ``model`` and ``chunks`` identify everything the bits depend on; they name a folder and the files in it.
        Features of other models are removed where no process uses them. Raises
        :class:`fedfr.core.errors.WriteError` when the folder cannot be written.
        """
        self._release()
        here = self.folder / model
        with _writing(here):
            self._release = weakref.finalize(self, os.close, _hold_folder(here))
            self._remove_others(here)
        found: dict[int, torch.Tensor] = {}
        with _opened(here / "lock") as lock:
            for wait in (False, True):
                for number, chunk in enumerate(chunks):
                    if number not in found:
                        piece = _fetch_chunk(here / f"{chunk}.npy", lock, number, wait, compute)
                        found |= {} if piece is None else {number: piece}
        return [found[number] for number in range(len(chunks))]

    def seconds(self, model: str, chunks: Sequence[str]) -> float | None:
        """Return the processor time of computing every chunk, whichever processes did; None where one is not known."""
        try:
            return sum(float(_seconds_file(self.folder / model / f"{chunk}.npy").read_text()) for chunk in chunks)
        except (OSError, ValueError):
            return None

    def _remove_others(self, here: Path) -> None:
        for old in self.folder.iterdir():
            if old == here:
                continue
            try:
                descriptor = os.open(old / USED, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError:
                continue  # Another process was faster, or it is not a folder of this store.
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Renamed first, in one step: a process that needs this model meanwhile starts a new folder.
                aside = old if old.name.endswith(".tmp") else old.with_name(f".{old.name}.{os.getpid()}.tmp")
                if aside != old:
                    old.rename(aside)
                shutil.rmtree(aside, ignore_errors=True)
            except OSError:
                continue  # In use by another process.
            finally:
                os.close(descriptor)


def _hold_folder(folder: Path) -> int:
    """Create ``folder`` if needed and return the descriptor of a shared lock that keeps others from removing it.

    Many processes may hold the lock at a time.
    """
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            if folder.exists() and not folder.is_dir():
                raise
            continue  # Existed when it was to be created, and was removed before the check.
        try:
            descriptor = os.open(folder / USED, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            continue  # Removed in this moment; start again.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(descriptor), (folder / USED).stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # The locked file belongs to a folder that has been removed since.


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
    """Open the lock file; one byte of it is locked per chunk."""
    with _writing(path.parent):
        file = path.open("a")
    with file:
        yield file


def _nothing() -> None:
    """Do nothing; used while no folder is held."""


def _fetch_chunk(path: Path, lock: IO[str], number: int, wait: bool, compute: Compute) -> torch.Tensor | None:
    """Return one chunk, read or computed; None if another process is computing it and ``wait`` is false."""
    found = _read(path)
    if found is not None:
        return found
    try:
        # A lock on one byte of the file, so that one file serves all chunks.
        fcntl.lockf(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, number)
    except OSError as error:
        if wait or error.errno not in (errno.EAGAIN, errno.EACCES):
            raise WriteError(f"cannot lock {lock.name}: {error.strerror}; choose a folder on another disk") from error
        return None
    try:
        found = _read(path)  # finished by another process a moment ago
        if found is None:
            started = time.process_time()
            made = compute(number)
            # First, so that features which exist have it.
            write_atomically(_seconds_file(path), f"{time.process_time() - started:.6f}".encode())
            write_atomically(path, partial(_write, made.numpy()))
            found = _read(path)
        return made if found is None else found
    finally:
        fcntl.lockf(lock, fcntl.LOCK_UN, 1, number)


def _seconds_file(path: Path) -> Path:
    """Return the file with the processor time of computing a chunk."""
    return path.with_suffix(".seconds")


def _write(features: np.ndarray, path: Path) -> None:
    with path.open("wb") as file:  # np.save would add a suffix to the temporary name
        np.save(file, features, allow_pickle=False)


def _read(path: Path) -> torch.Tensor | None:
    """Memory-map the file; None when it is missing or damaged and must be computed again."""
    try:
        # Copy-on-write, though nothing is written: torch warns about read-only arrays.
        return torch.from_numpy(map_array(path, "c"))
    except (OSError, ValueError, EOFError):
        return None
