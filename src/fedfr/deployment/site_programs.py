"""Wrappers of Flower's programs that let a site run only fedfr's own bundle, in its worker.

A SuperNode runs any code that the SuperLink sends; Flower verifies bundles only for apps from its own platform. But it
starts its programs by name, so wrappers that come first on ``PATH`` replace them. The wrapper of the program that
trains runs it in :mod:`fedfr.deployment.warm_worker` and checks the bundle before it is unpacked; all others refuse to
run.
"""

from __future__ import annotations

import hashlib
import io
import logging
import shlex
import sys
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

from fedfr.core.archives import DAMAGED_ARCHIVE
from fedfr.core.errors import FedfrError
from fedfr.deployment.bundle import PYPROJECT
from fedfr.deployment.process_output import own_line
from fedfr.deployment.warm_worker import hand_over, serve

__all__ = ["check_bundle", "main", "write_programs"]

CLIENT_APP = "flwr-clientapp"
# The only file of the bundle, and the list that Flower adds: path, SHA-256 and bits of every file.
PROJECT_FILE, CONTENT_LIST = "pyproject.toml", ".info/CONTENT"
_PROJECT_TEXT = PYPROJECT.encode()
EXPECTED = {
    PROJECT_FILE: _PROJECT_TEXT,
    CONTENT_LIST: f"{PROJECT_FILE},{hashlib.sha256(_PROJECT_TEXT).hexdigest()},{8 * len(_PROJECT_TEXT)}".encode(),
}


def write_programs(folder: Path) -> Path:
    """Write the wrapper programs to ``folder``, which must come first on a SuperNode's ``PATH``; return it."""
    from flwr.supercore.constant import TASK_TYPE_TO_COMMAND

    folder.mkdir(parents=True, exist_ok=True)
    for name in TASK_TYPE_TO_COMMAND.values():
        program = folder / name
        command = shlex.join([sys.executable, "-m", "fedfr.deployment.site_programs", str(folder.resolve()), name])
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    return folder


def main(folder: Path, arguments: list[str]) -> None:
    """Run Flower's ClientApp program with a check of the bundle; exit with an error for any other program.

    ``folder``: that of :func:`write_programs`. ``arguments``: the program's name, then its arguments.
    """
    name = arguments[0]
    if name != CLIENT_APP:
        sys.exit(own_line(logging.ERROR, f"{name} must not run at a site"))
    if hand_over(folder, arguments):
        return
    program: Any = import_module("flwr.supernode.cli.flwr_clientapp")
    import_module("fedfr.deployment.client_app")
    sys.argv = serve(folder, arguments)
    runner: Any = import_module("flwr.supernode.runtime.run_clientapp")
    install = runner.install_from_fab

    def checked(bundle: bytes, *given: Any, **named: Any) -> Any:
        try:
            check_bundle(bundle)
        except FedfrError as error:
            # Flower prints only a traceback.
            print(own_line(logging.ERROR, str(error)), file=sys.stderr, flush=True)
            raise
        return install(bundle, *given, **named)

    runner.install_from_fab = checked
    program.flwr_clientapp()


def check_bundle(bundle: bytes) -> None:
    """Raise :class:`FedfrError` unless ``bundle`` is fedfr's own, which holds no code."""
    try:
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            found = archive.namelist()
            if sorted(found) != sorted(EXPECTED):
                unexpected = sorted(map(repr, {*found} - {*EXPECTED}))[:3]
                raise FedfrError(_refusal(f"it has {', '.join(unexpected) or 'missing or duplicate files'}"))
            for name, content in EXPECTED.items():
                # Check the announced size before unpacking: a small archive can unpack to any size.
                if archive.getinfo(name).file_size != len(content) or archive.read(name) != content:
                    raise FedfrError(_refusal(f"{name} differs"))
    except DAMAGED_ARCHIVE as error:
        raise FedfrError(_refusal("the archive is damaged")) from error


def _refusal(why: str) -> str:
    return f"this site runs only fedfr's own bundle: {why}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
