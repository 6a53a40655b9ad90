"""Processes that listen at a port of this machine as those of a site or coordinator do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["listening_for"]

LISTENS = """
import socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as made:
    print(made.getsockname()[1], flush=True)
    time.sleep(600)
"""


@contextmanager
def listening_for(folder: Path, port: int = 0) -> Iterator[tuple[int, int]]:
    """A process that listens with the command line of the node of the site in ``folder``; yields its id and port."""
    command = [sys.executable, "-c", LISTENS, str(port), "--node-config", f'site="{folder}/site.yaml"']
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()
