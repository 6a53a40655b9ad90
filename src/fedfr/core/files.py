"""Atomic and durable writing of files and folders, and reading of JSON."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from fedfr.core.errors import FedfrError, WriteError

__all__ = [
    "empty_folder",
    "expand_home",
    "make_folder",
    "move_folder",
    "parse_json",
    "read_file",
    "read_json",
    "read_json_lines",
    "remove_leftovers",
    "sync",
    "write_atomically",
    "write_folder_atomically",
    "write_json",
    "write_temporary",
]


def sync(path: Path) -> None:
    """Flush the content of a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_all(folder: Path) -> None:
    """Flush all files in a folder and its subfolders to disk, with the folders' entries."""
    for path in [*folder.rglob("*"), folder]:
        if not path.is_symlink():
            sync(path)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Create ``folder`` with ``mode``, and missing parent folders, durably.

    The parents are synced as well: otherwise a power failure could remove the folder with its content.
    Raises ``OSError`` as :meth:`pathlib.Path.mkdir` does.
    """
    missing = []
    above = folder
    while not above.exists():
        missing.append(above)
        above = above.parent
    if not above.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(above))
    folder.mkdir(mode, parents=True, exist_ok=True)
    for made in reversed(missing):
        sync(made.parent)


def write_atomically(path: Path, write: bytes | Callable[[Path], None]) -> None:
    """Write ``path`` atomically through a temporary file in the same folder: fsync, rename, fsync of the folder.

    ``write`` is the content, or a function that writes it to a given path. Raises :class:`WriteError` if the disk is
    full or the folder cannot be written; an existing file is then unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        make_folder(path.parent)
        # A link under this name, planted or left over, would lead to another file.
        temporary.unlink(missing_ok=True)
        if callable(write):
            write(temporary)
        else:
            temporary.write_bytes(write)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error


def write_temporary(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file that a restarted process does not need, without fsync; raises as :func:`write_atomically` does."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.writelines(parts)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError | SafetensorError) -> WriteError:
    # safetensors wraps the reason of the system: "... I/O error: No space left on device (os error 28)".
    reason = error.strerror if isinstance(error, OSError) else None
    reason = reason or str(error).partition("I/O error: ")[2].partition(" (os error")[0] or str(error)
    return WriteError(f"cannot write {path}: {reason}; free space or choose a folder that can be written")


def write_folder_atomically(folder: Path, fill: Callable[[Path], None]) -> None:
    """Create ``folder`` atomically: ``fill`` writes into a temporary folder beside it, which is synced and renamed.

    Raises :class:`FedfrError` if ``folder`` already contains files, because two folders cannot be exchanged atomically,
    and :class:`WriteError` as :func:`write_atomically` does.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        if folder.exists() and any(folder.iterdir()):
            raise FedfrError(f"{folder} already holds files and is not replaced; remove it or name a new folder")
        shutil.rmtree(temporary, ignore_errors=True)
        make_folder(folder.parent)
        temporary.mkdir()
        fill(temporary)
        _sync_all(temporary)
        temporary.rename(folder)
        sync(folder.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise _cannot_write(folder, error) from error
    except BaseException:
        # The files written so far may be private.
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def move_folder(made: Path, target: Path) -> None:
    """Rename a folder or file durably on the same file system; an empty folder or a file at ``target`` is replaced.

    Raises :class:`WriteError` if ``target`` is not empty or cannot be written.
    """
    try:
        _sync_all(made)
        made.rename(target)
        sync(target.parent)
    except OSError as error:
        raise _cannot_write(target, error) from error


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of killed processes in ``folder``.

    Call it only while holding the lock: temporary files of running processes are removed as well.
    """
    for leftover in list(folder.rglob(".*.tmp")):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def empty_folder(folder: Path, *, remove: bool) -> None:
    """Remove everything in a folder, and with ``remove`` the folder itself; the targets of links are kept."""
    for made in list(folder.iterdir()) if folder.is_dir() else ():
        if made.is_dir() and not made.is_symlink():
            shutil.rmtree(made)
        else:
            made.unlink()
    if remove and folder.exists():
        folder.rmdir()


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` atomically as indented UTF-8 JSON; raises ``ValueError`` for NaN and infinity."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def expand_home(path: str) -> Path:
    """Return ``path`` with ``~`` replaced by the home folder; unchanged for an unknown user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def read_file(path: Path, most: int = 1 << 29) -> bytes:
    """Return the content of a regular file of at most ``most`` bytes.

    Raises ``OSError`` if it cannot be read, is larger, or is not a regular file: a pipe could block forever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with contextlib.ExitStack() as opened:
        opened.callback(os.close, descriptor)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(
                errno.EINVAL, "it is a folder" if stat.S_ISDIR(status.st_mode) else "it is not a regular file"
            )
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"it has {status.st_size} bytes; at most {most} are read")
        return os.fdopen(descriptor, "rb", closefd=False).read()


def parse_json(text: str | bytes, *, names_once: bool = False) -> Any:
    """Parse a JSON text; with ``names_once``, an object with a repeated name is an error.

    Raises ValueError and no other exception, also for bytes that are not UTF-8, brackets nested thousands deep and
    numbers of thousands of digits.
    """
    try:
        whole = text.decode() if isinstance(text, bytes) else text
        return json.loads(whole, object_pairs_hook=_named_once if names_once else None)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("an object has the same name twice")
    return content


def read_json(path: Path) -> Any:
    """Read JSON written by :func:`write_json`; raises :class:`FedfrError` if the file is missing or damaged."""
    try:
        return parse_json(read_file(path))
    except FileNotFoundError as error:
        raise FedfrError(f"{path} does not exist; check the path") from error
    except OSError as error:
        raise FedfrError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    except ValueError as error:
        raise FedfrError(f"{path} is not readable JSON ({error}); it may be truncated, restore or remove it") from error


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a JSON Lines file, each an object; empty if the file does not exist.

    An incomplete last line, of a running or killed process, is ignored. Raises :class:`FedfrError` for other damage.
    """
    try:
        lines = read_file(path, 1 << 32).splitlines(keepends=True) if path.exists() else []
        content = [parse_json(line) for line in lines if line.endswith(b"\n")]
    except (OSError, ValueError) as error:
        raise FedfrError(f"{path} is not readable ({error}); it may be truncated, restore or remove it") from error
    if not all(isinstance(line, dict) for line in content):
        raise FedfrError(f"{path} has a line that is not an object; restore or remove the file")
    return content
