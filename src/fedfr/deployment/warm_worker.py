"""Worker of a site: a process that has imported everything and forks a process for every message.

A SuperNode starts a program for every message. Importing PyTorch and Flower takes such a program longer than many
messages take. So the first program stays as the worker, and later ones hand their arguments over to it. Every message
still has its own process, in which nothing is left of an earlier message: the worker opens no site, no model and no
connection. It ends with its SuperNode. Without a worker, a program does its work itself.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# Imported by a program before it hands over: standard library only.

__all__ = ["hand_over", "serve"]

BEGUN = b"1"
LONGEST = 1 << 16
"""Longest list of arguments in bytes."""
SECONDS_TO_ASK = 5.0
"""Seconds after which the worker leaves a program that connected and said nothing."""
PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


def hand_over(folder: Path, arguments: Sequence[str]) -> bool:
    """Let the worker of ``folder`` run a program; return whether it does, False if the caller must run it."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with suppress(OSError), connection, _opened(folder) as directory:
        connection.connect(str(_address(directory)))
        connection.sendall(json.dumps([_supernode(arguments), *arguments]).encode())
        # No time limit: the worker has either begun or closed the connection, never something between.
        return connection.recv(1) == BEGUN
    return False


def serve(folder: Path, arguments: list[str]) -> list[str]:
    """Become the worker of ``folder``; return in every forked process, with the arguments of its program.

    The first process is forked for ``arguments``. The worker itself exits when its SuperNode has ended, after its
    processes. If the folder has a worker, or this process cannot be one, returns ``arguments`` at once.
    """
    supernode = _supernode(arguments)
    # With another thread, a forked process could wait for a lock that nobody holds there.
    if supernode != os.getppid() or threading.active_count() > 1:
        return arguments
    with _opened(folder) as directory:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            worker = _Worker(_listen(_address(directory)), supernode, os.pidfd_open(supernode))
        except OSError:
            return arguments
        return worker.run(arguments)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield number
    finally:
        os.close(number)


def _address(directory: int) -> Path:
    """Return the worker's address below an open folder; unlike the folder's own path it is short, as it must be."""
    return Path(f"/proc/self/fd/{directory}/worker")


class _Worker:
    def __init__(self, listener: socket.socket, supernode: int, ended: int) -> None:
        self.listener = listener
        self.supernode = supernode
        self.ended = ended

    def run(self, arguments: list[str]) -> list[str]:
        # The kernel removes ended processes.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        # Memory of the imports stays shared with the forked processes: their collector does not write to it.
        gc.collect()
        gc.freeze()
        if self._fork():
            return arguments
        while True:
            ready, _, _ = select.select([self.listener.fileno(), self.ended], [], [])
            if self.ended in ready:
                self._end()
            begun = self._accept()
            if begun is not None:
                return begun

    def _accept(self) -> list[str] | None:
        """Fork a process for the next program; return its arguments in that process, None in the worker."""
        # Without memory or descriptors, the connection is closed, and the program does its work itself.
        with suppress(OSError):
            connection, _ = self.listener.accept()
            with connection:
                arguments = self._request(connection)
                if arguments is not None:
                    if self._fork():
                        return arguments
                    connection.sendall(BEGUN)
        return None

    def _request(self, connection: socket.socket) -> list[str] | None:
        """Return the arguments that were handed over, None if they are damaged or of another SuperNode's program."""
        connection.settimeout(SECONDS_TO_ASK)
        try:
            received: Any = json.loads(connection.recv(LONGEST))
        except ValueError:
            return None
        # A new SuperNode's program may meet the worker of the one before.
        return received[1:] if isinstance(received, list) and received[:1] == [self.supernode] else None

    def _fork(self) -> bool:
        """Fork; return whether this is the new process. It dies with the worker."""
        worker = os.getpid()
        if os.fork():
            return False
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != worker:
            os._exit(1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.listener.close()
        os.close(self.ended)
        return True

    def _end(self) -> None:
        """Exit when all processes have ended: they notice that the SuperNode has."""
        self.listener.close()
        with suppress(ChildProcessError):
            os.wait()
        sys.exit(0)


def _listen(address: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    address.unlink(missing_ok=True)
    # Nobody else on this machine may hand arguments over.
    before = os.umask(0o077)
    try:
        listener.bind(str(address))
    finally:
        os.umask(before)
    listener.listen()
    return listener


def _supernode(arguments: Sequence[str]) -> int:
    """Return the process id of the SuperNode that started a program, 0 if it does not say."""
    option = "--parent-pid"
    following = arguments[arguments.index(option) + 1 :] if option in arguments else []
    return int(following[0]) if following and following[0].isdecimal() else 0
