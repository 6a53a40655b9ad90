"""Background processes of a local federation, for demonstrations, tests and measurements."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from fedfr.core.errors import FedfrError
from fedfr.deployment.address import Address

__all__ = ["BackgroundProcesses", "free_port", "wait_for"]

# Linux hands out 32768 and above for outgoing connections.
_FIRST_PORT, _LAST_PORT, _PORTS = 10240, 32768, 256
_given = itertools.count()


class BackgroundProcesses:
    """Processes that are killed, with their children, at the end of a ``with`` block; their logs are in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for name in [*self.processes]:
            self.end(name)

    def end(self, name: str) -> None:
        """Send SIGKILL to a process and all its children, as in a power failure."""
        process = self.processes.pop(name)
        # Its children belong to the same process group.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            process.wait()

    def log(self, name: str) -> Path:
        """Path of the output of a process."""
        return self.folder / f"{name}.log"

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start a process, by default in the environment of this one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)

    def wait_for_port(self, name: str, address: Address) -> None:
        """Wait until a process listens; raises :class:`FedfrError` when it ends instead."""

        def listens() -> bool:
            if self.processes[name].poll() is not None:
                raise FedfrError(f"{name} ended while starting; see {self.log(name)}")
            return address.is_listening()

        wait_for(listens, f"the port of {name}")


def free_port() -> int:
    """Return a port of 127.0.0.1 that is unused now and that this process has not been given recently.

    It is below those that the system hands out, and from a part that processes with neighbouring numbers do not use:
    seconds pass until it is bound, and nothing else must take it meanwhile.
    """
    parts = (_LAST_PORT - _FIRST_PORT) // _PORTS
    first = _FIRST_PORT + os.getpid() % parts * _PORTS
    for _ in range(_PORTS):
        port = first + next(_given) % _PORTS
        with socket.socket() as found, suppress(OSError):
            found.bind(("127.0.0.1", port))
            return port
    raise FedfrError(f"none of the ports {first} to {first + _PORTS - 1} of 127.0.0.1 is free")


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 900) -> None:
    """Wait until a condition is true; raises :class:`FedfrError` after ``seconds``. ``what`` names it in the error."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            raise FedfrError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.1)
