"""Keeps one process running: starts it, starts it again when it dies, and takes it along when it ends itself."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

from fedfr.errors import FedfrError

__all__ = ["Backoff", "Supervisor"]

_log = logging.getLogger("fedfr.deployment")
# Becomes the command after it has asked the kernel to be told when its parent dies (PR_SET_PDEATHSIG, linux/prctl.h):
# without that a killed supervisor leaves its process behind, and the next one starts a second beside it. The parent may
# have died before.
_GUARD = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


@dataclass
class Backoff:
    """Seconds to wait before the next start: ``first``, doubled each time up to ``longest``.

    A process that ran for ``healthy`` seconds was well; after it the count begins anew.
    """

    first: float = 1.0
    longest: float = 60.0
    healthy: float = 300.0
    _next: float = field(default=0.0, init=False)

    def after(self, ran: float) -> float:
        """The wait after a process that ran for so many seconds."""
        if self._next == 0.0 or ran >= self.healthy:
            self._next = self.first
        wait, self._next = self._next, min(2 * self._next, self.longest)
        return wait


@dataclass
class Supervisor:
    """Runs ``command`` with the environment ``environment`` until :meth:`stop` is called, or SIGTERM or SIGINT comes.

    The process gets ``patience`` seconds to end after SIGTERM before it is killed; when this process is killed itself,
    the kernel tells it to end (Linux).
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    backoff: Backoff = field(default_factory=Backoff)
    patience: float = 15.0
    on_start: Callable[[int], None] = field(default=lambda pid: None)
    _stopped: threading.Event = field(default_factory=threading.Event, init=False)

    def stop(self) -> None:
        """Let the process end, and start it no more."""
        self._stopped.set()

    def run(self) -> int:
        """Returns 0 once it was stopped. Called from the main thread, it minds signals.

        Raises :class:`FedfrError` when there is no such command.
        """
        if shutil.which(self.command[0]) is None:
            raise FedfrError(f"there is no program {self.command[0]}; install it or check the path")
        before = self._mind_signals()
        try:
            while True:
                started = time.monotonic()
                code = self._once()
                if self._stopped.is_set():
                    return 0
                wait = self.backoff.after(time.monotonic() - started)
                _log.warning("%s ended with code %d; it is started again in %g s", self.command[0], code, wait)
                if self._stopped.wait(wait):
                    return 0
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _once(self) -> int:
        guarded = [sys.executable, "-c", _GUARD, str(os.getpid()), *self.command]
        process = subprocess.Popen(guarded, env=dict(self.environment))
        self.on_start(process.pid)
        _log.info("%s started as process %d", self.command[0], process.pid)
        ended = threading.Event()

        def end_when_stopped() -> None:
            while not ended.is_set():
                if self._stopped.wait(0.2):
                    process.terminate()
                    if not ended.wait(self.patience):
                        process.kill()
                    return

        watch = threading.Thread(target=end_when_stopped, daemon=True)
        watch.start()
        code = process.wait()
        ended.set()
        watch.join()
        return code

    def _mind_signals(self) -> dict[int, Callable[[int, FrameType | None], object] | int | None]:
        if threading.current_thread() is not threading.main_thread():
            return {}

        def stop(number: int, frame: FrameType | None) -> None:
            self.stop()

        return {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
