"""Hidden work folder beside a destination, used by an import until it is complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError, WriteError
from fedfr.core.files import make_folder, read_json, remove_leftovers, write_json
from fedfr.core.locks import take_lock

__all__ = ["PLAN", "Plan", "remove_abandoned", "remove_workspace", "workspace", "workspace_of"]

PLAN = "photographs.json"
LOCK = ".lock"
Plan = Mapping[str, Any]
"""Everything but the photographs on which the result depends; an import continues only with an equal plan."""


def workspace_of(target: Path) -> Path:
    """Return the work folder of the import into ``target``, on the same file system, so that the result is renamed."""
    return target.with_name(f".{target.name}.import")


@contextmanager
def workspace(target: Path, plan: Plan) -> Iterator[Path]:
    """Lock and yield the work folder of the import into ``target``; only :func:`remove_workspace` deletes it.

    Raises :class:`FedfrError` if another process uses the folder or the import was started with another plan, and
    :class:`WriteError` if the folder cannot be created.
    """
    folder = workspace_of(target)
    lock = _lock(folder, target)
    try:
        remove_leftovers(folder)
        place = folder / PLAN
        if place.is_file():
            _compare(read_json(place), plan, folder, target)
        else:
            _empty(folder)
            write_json(place, plan)
        yield folder
    finally:
        os.close(lock)


def remove_workspace(folder: Path) -> None:
    """Remove a work folder, its plan first, so that an interrupted removal leaves an abandoned folder."""
    (folder / PLAN).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(target: Path) -> None:
    """Remove the work folder of an import that was interrupted while removing it, because it holds faces.

    A folder with a plan, or locked by another process, is kept.
    """
    folder = workspace_of(target)
    if not folder.is_dir():
        return
    try:
        lock = _lock(folder, target)
    except FedfrError:
        return
    try:
        if not (folder / PLAN).is_file():
            remove_workspace(folder)
    finally:
        os.close(lock)


def _empty(folder: Path) -> None:
    """Remove the content except the lock: without a plan the settings of the content are unknown."""
    for entry in list(folder.iterdir()):
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()


def _lock(folder: Path, target: Path) -> int:
    """Return a descriptor that holds the lock; the lock ends with the process."""
    while True:
        try:
            make_folder(folder)
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise WriteError(
                f"cannot write in {folder.parent}: {error.strerror}; free space or choose a folder that can be written"
            ) from error
        try:
            take_lock(descriptor, folder, f"another process imports into {target}")
            # The previous holder may have removed the folder and with it the locked file.
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _compare(stored: Any, plan: Plan, folder: Path, target: Path) -> None:
    known = stored if isinstance(stored, dict) else {}
    for name in (*plan, *known):
        if known.get(name) != plan.get(name):
            raise FedfrError(
                f"the unfinished import into {target} was started with {name} {known.get(name)!r}, not "
                f"{plan.get(name)!r}; repeat that command, or remove {folder} to start again"
            )
