"""A whole federation on one machine: a SuperLink, a SuperNode for every site, over the loopback without encryption.

For demonstrations, tests and measurements. Real sites stand on machines of their own and talk TLS.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from fedfr.deployment.processes import Address, Control, environment, superlink, supernode
from fedfr.errors import FedfrError

__all__ = ["Loopback"]


class Loopback:
    """Processes that end with the ``with`` block; their output and Flower's files lie in ``folder``.

    ``runs``: the folder of the experiments. ``sites``: by client id, its ``site.yaml``.
    """

    def __init__(self, folder: Path, runs: Path, sites: Mapping[str, Path]) -> None:
        self.folder = folder
        self.sites = sites
        self.link = Address("127.0.0.1", _free_port())
        self.control = Control(self.link, folder / "operator")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._runs = runs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self.processes.values():
            # Whatever a process started is in its group.
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            finally:
                process.wait()

    def start(self) -> None:
        """The SuperLink and all sites."""
        self.start_link()
        for client in self.sites:
            self.start_site(client)

    def start_link(self) -> None:
        """The SuperLink; returns when it listens."""
        process = self._start("superlink", superlink(self.link), environment(self.folder / "superlink", self._runs))
        self._wait(self._listens, process, "superlink")

    def start_site(self, client: str) -> None:
        """One site's SuperNode."""
        command = supernode(self.link, self.sites[client], Address("127.0.0.1", _free_port()))
        self._start(client, command, environment(self.folder / client))

    def log(self, name: str) -> Path:
        """The output of a process: ``superlink``, or a client's id."""
        return self.folder / f"{name}.log"

    def _start(self, name: str, command: list[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log:
            started = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        self.processes[name] = started
        return started

    def _wait(self, condition: Callable[[], bool], process: subprocess.Popen[bytes], name: str) -> None:
        while not condition():
            if process.poll() is not None:
                raise FedfrError(f"{name} ended at once; see {self.log(name)}")
            time.sleep(0.1)

    def _listens(self) -> bool:
        try:
            socket.create_connection((self.link.host, self.link.port), 1).close()
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
