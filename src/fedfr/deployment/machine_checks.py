"""Checks of folders, free space, memory and ports; each returns its finding or raises an error with the remedy."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.deployment.address import check_port_free
from fedfr.deployment.listeners import listeners

__all__ = ["LOOPBACK", "disk", "memory", "port", "writable"]

LOOPBACK = (socket.AF_INET, "127.0.0.1")


def writable(folder: Path) -> str:
    """Check that ``folder``, or the nearest one above it that exists, can be written."""
    place = _existing(folder)
    if not os.access(place, os.W_OK):
        raise FedfrError(f"{place} is not writable; grant this user write access")
    return f"{place} can be written"


def disk(folder: Path, needed: int) -> str:
    """Check that ``folder`` can be written and that ``needed`` bytes are free there."""
    place = _existing(folder)
    writable(place)
    free = shutil.disk_usage(place).free
    if free < needed:
        raise FedfrError(f"{free / 1e9:.1f} GB free at {place}, {needed / 1e9:.1f} GB are needed; free space")
    return f"{free / 1e9:.1f} GB free, {needed / 1e9:.2f} GB needed"


def memory(needed: int) -> str:
    """Check that ``needed`` bytes of memory are free."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    if free < needed:
        raise FedfrError(f"{free / 1e9:.1f} GB of memory free, about {needed / 1e9:.1f} GB are needed; add memory")
    return f"{free / 1e9:.1f} GB free, about {needed / 1e9:.2f} GB needed for the model"


def port(number: int | None, places: Sequence[tuple[socket.AddressFamily, str]], folder: Path, running: bool) -> str:
    """Check that a port is free, or used only by the site or coordinator in ``folder``."""
    if number is None:
        return "a free port is chosen at every start"
    found = listeners(number)
    own = [each for each in found if each.belongs_to(folder)]
    if own and running:
        return f"{number}, in use by its own {own[0]}"
    if running and found and all(each.process is None for each in found):
        return f"{number}, in use by {found[0]}, whose processes this user cannot inspect"
    check_port_free(number, places)
    if running:
        raise FedfrError(
            f"no process listens at {number} although `run` is active; see the status, and wait for the next start"
        )
    return f"{number} is free"


def _existing(folder: Path) -> Path:
    """Return ``folder``, or the nearest existing folder above it."""
    while not folder.exists():
        folder = folder.parent
    return folder
