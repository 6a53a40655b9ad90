"""What a site lets run: the bundle that fedfr writes, in the program that trains clients, and nothing else.

A SuperNode takes whatever code the SuperLink hands it; Flower verifies bundles only for apps that come from Flower's
own platform. It starts programs by their names, though, so a site's SuperNode finds ours first: those that a site does
not need refuse, and the one that trains looks into the bundle before it is unpacked.
"""

from __future__ import annotations

import io
import shlex
import sys
import zipfile
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

from fedfr.deployment.bundle import PYPROJECT
from fedfr.errors import FedfrError

__all__ = ["check_bundle", "main", "write_programs"]

CLIENT_APP = "flwr-clientapp"
# Flower's list of what it adds to a bundle itself, and the one file that is ours.
OURS, ADDED = "pyproject.toml", ".info/CONTENT"
LARGEST = 1 << 20


def write_programs(folder: Path) -> Path:
    """Write the programs into ``folder``, which is to stand first on a SuperNode's ``PATH``."""
    from flwr.supercore.constant import TASK_TYPE_TO_COMMAND

    folder.mkdir(parents=True, exist_ok=True)
    for name in TASK_TYPE_TO_COMMAND.values():
        program = folder / name
        command = shlex.join([sys.executable, "-m", "fedfr.deployment.guard", name])
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    return folder


def main(arguments: list[str]) -> None:
    """Become the program whose name comes first, if a site needs it, with its bundle checked."""
    name = arguments[0]
    if name != CLIENT_APP:
        sys.exit(f"fedfr: {name} was asked for and does not run at a site")
    place: Any = import_module("flwr.supernode.runtime.run_clientapp")
    install = place.install_from_fab

    def checked(bundle: bytes, *given: Any, **named: Any) -> Any:
        check_bundle(bundle)
        return install(bundle, *given, **named)

    place.install_from_fab = checked
    sys.argv = arguments
    import_module("flwr.supernode.cli.flwr_clientapp").flwr_clientapp()


def check_bundle(bundle: bytes) -> None:
    """Raises :class:`FedfrError` for any bundle but the one that names fedfr's apps and holds no code."""
    try:
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            found = archive.namelist()
            if sorted(found) != sorted((OURS, ADDED)):
                more = ", ".join(sorted({*found} - {OURS, ADDED})[:3])
                raise FedfrError(_refusal(f"this one holds {more}" if more else "this one has other files"))
            if archive.getinfo(OURS).file_size > LARGEST or archive.read(OURS) != PYPROJECT.encode():
                raise FedfrError(_refusal(f"the {OURS} of this one is another"))
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise FedfrError(_refusal("this is no whole archive")) from error


def _refusal(why: str) -> str:
    return f"this site runs no bundle but fedfr's own: {why}"


if __name__ == "__main__":
    main(sys.argv[1:])
