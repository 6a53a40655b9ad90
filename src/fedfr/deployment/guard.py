"""Restriction of the code that a site runs: only fedfr's own bundle, in the program that trains clients.

A SuperNode takes whatever code the SuperLink hands it; Flower verifies bundles only for apps that come from Flower's
own platform. It starts programs by their names, though, so a site's SuperNode finds ours first: those that a site does
not need refuse, and the one that trains looks into the bundle before it is unpacked.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import shlex
import sys
import zipfile
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.deployment.bundle import PYPROJECT

__all__ = ["check_bundle", "main", "write_programs"]

CLIENT_APP = "flwr-clientapp"
# The one file that is ours, and the list that Flower adds: path, SHA-256 and bits of every file.
OURS, ADDED = "pyproject.toml", ".info/CONTENT"
_OURS = PYPROJECT.encode()
EXPECTED = {OURS: _OURS, ADDED: f"{OURS},{hashlib.sha256(_OURS).hexdigest()},{8 * len(_OURS)}".encode()}


def write_programs(folder: Path) -> Path:
    """Write the wrapper programs into ``folder``, which must come first on a SuperNode's ``PATH``."""
    from flwr.supercore.constant import TASK_TYPE_TO_COMMAND

    folder.mkdir(parents=True, exist_ok=True)
    for name in TASK_TYPE_TO_COMMAND.values():
        program = folder / name
        command = shlex.join([sys.executable, "-m", "fedfr.deployment.guard", name])
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    return folder


def main(arguments: list[str]) -> None:
    """Check the bundle, then execute the named program if a site needs it."""
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
    """Raise :class:`FedfrError` for any bundle other than fedfr's own, which holds no code."""
    try:
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            found = archive.namelist()
            if sorted(found) != sorted(EXPECTED):
                more = sorted(map(repr, {*found} - {*EXPECTED}))[:3]
                raise FedfrError(_refusal(f"it holds {', '.join(more) or 'too little, or something twice'}"))
            for name, content in EXPECTED.items():
                # What is announced is looked at first: a small archive may unpack to any size.
                if archive.getinfo(name).file_size != len(content) or archive.read(name) != content:
                    raise FedfrError(_refusal(f"the {name} of this one is another"))
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError, ValueError) as error:
        raise FedfrError(_refusal("this is no whole archive")) from error


def _refusal(why: str) -> str:
    return f"this site runs no bundle but fedfr's own: {why}"


if __name__ == "__main__":
    main(sys.argv[1:])
