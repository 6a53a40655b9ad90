"""Locks of folders, on which only one process works at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from fedfr.core.errors import InUseError, WriteError
from fedfr.core.files import make_folder

__all__ = ["is_locked", "locked", "take_lock"]


def take_lock(descriptor: int, folder: Path, message: str) -> None:
    """Lock an open file of ``folder`` exclusively, without waiting.

    Raises :class:`InUseError` with ``message`` if another process holds the lock, and :class:`WriteError` if the
    file system does not support locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InUseError(f"{message}; wait for it or stop it") from error
    except OSError as error:
        raise WriteError(
            f"cannot lock {folder}: {error.strerror}; its file system must support locks (flock); choose a folder on a "
            "local disk"
        ) from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Context manager: lock ``folder``, creating it if missing; the lock is released when the process ends.

    Raises :class:`InUseError` if another process holds the lock, and :class:`WriteError` if the folder cannot be
    written or its file system does not support locks.
    """
    try:
        make_folder(folder)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise WriteError(
            f"cannot write in {folder}: {error.strerror}; free space or make the folder writable, then resume"
        ) from error
    try:
        take_lock(descriptor, folder, f"another process is working on {folder}")
        yield
    finally:
        os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Return whether a process holds the lock of ``folder`` (:func:`locked`), without trying to take it."""
    try:
        number, held = (folder / ".lock").stat().st_ino, Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return False
    return any(word.endswith(f":{number}") for word in held.split())
