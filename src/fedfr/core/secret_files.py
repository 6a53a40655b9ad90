"""Files that only their owner can read."""

from __future__ import annotations

import os
from pathlib import Path

from fedfr.core.errors import FedfrError, WriteError
from fedfr.core.files import read_file, sync, write_atomically

__all__ = [
    "erase_secret",
    "read_secret",
    "refuse_existing",
    "refuse_readable",
    "write_new",
    "write_private",
    "write_secret",
]

READABLE_BY_OTHERS = 0o077


def refuse_existing(path: Path) -> None:
    """Raise :class:`FedfrError` if ``path`` exists."""
    if path.exists():
        raise FedfrError(f"{path} exists already and is not replaced; remove it, or choose another name")


def write_new(path: Path, content: bytes) -> None:
    """Write a new file; raises :class:`FedfrError` if it exists."""
    refuse_existing(path)
    write_atomically(path, content)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read (mode 600), from the first byte on; an existing one is replaced."""

    def write(temporary: Path) -> None:
        # Exclusively: a file or link that another user made under this name would show that user the content.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)

    write_atomically(path, write)


def write_secret(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read (mode 600); raises :class:`FedfrError` if it exists."""
    refuse_existing(path)
    write_private(path, content)


def read_secret(path: Path, most: int = 1 << 16) -> bytes:
    """Return the content of a file with a key; raises :class:`FedfrError` if missing or readable by other users."""
    try:
        refuse_readable(path, f"the key {path}")
        return read_file(path, most)
    except OSError as error:
        raise FedfrError(f"cannot read the key {path}: {error.strerror or error}; check the path") from error


def refuse_readable(path: Path, what: str, modes: int = READABLE_BY_OTHERS) -> None:
    """Raise :class:`FedfrError` if a file has one of the ``modes``, by default any for the group or for others."""
    if path.stat().st_mode & modes:
        raise FedfrError(f"{what} is readable by other users; chmod 600 it, or create a new one")


def erase_secret(path: Path) -> None:
    """Overwrite a file with zeros and remove it, durably; a missing one is no error.

    File systems that copy on write, and flash memory, can keep the old content where no program reads it. Raises
    :class:`WriteError` if the file cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        raise WriteError(f"cannot erase {path}: {error.strerror}; remove it") from error
    try:
        os.write(descriptor, bytes(os.fstat(descriptor).st_size))
        os.fsync(descriptor)
        path.unlink()
    except OSError as error:
        raise WriteError(f"cannot erase {path}: {error.strerror}; remove it") from error
    finally:
        os.close(descriptor)
    sync(path.parent)
