"""Supervisor of one process: starts it, restarts it when it dies, and stops it on exit."""

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
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

from fedfr.core.errors import FedfrError
from fedfr.deployment.process_output import relay

__all__ = ["Backoff", "Supervised", "Supervisor"]

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
    """Delay before the next restart in seconds: ``first``, doubled each time up to ``longest``.

    A process that ran for ``healthy`` seconds was well; after it the count begins anew.
    """

    first: float = 1.0
    longest: float = 60.0
    healthy: float = 300.0
    _next: float = field(default=0.0, init=False)

    def after(self, ran: float) -> float:
        """Return the delay after a process that ran for so many seconds."""
        if self._next == 0.0 or ran >= self.healthy:
            self._next = self.first
        wait, self._next = self._next, min(2 * self._next, self.longest)
        return wait


@dataclass(frozen=True)
class Supervised:
    """Status of a supervised process: whether it runs, since when, and how it last ended.

    ``starts`` are counted since the supervisor itself was started; times are texts, empty where there is none.
    """

    process: int | None = None
    since: str = ""
    starts: int = 1
    problem: str = ""
    problem_since: str = ""
    next_start: str = ""


def _told(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


@dataclass
class Supervisor:
    """Runs ``command`` with the environment ``environment`` until :meth:`stop`, SIGTERM or SIGINT.

    ``command`` may be a function that is called before every start; when it raises :class:`FedfrError` then, that start
    has failed. The process gets ``patience`` seconds to end after SIGTERM before it is killed; when this process is
    killed itself, the kernel tells it to end (Linux). ``on_change`` is told of every start and every end. What the
    process prints is logged; ``private``: paths and quoted names in it are not shown.
    """

    command: Sequence[str] | Callable[[], Sequence[str]]
    environment: Mapping[str, str]
    backoff: Backoff = field(default_factory=Backoff)
    patience: float = 15.0
    private: bool = True
    on_start: Callable[[int], None] = field(default=lambda pid: None)
    on_change: Callable[[Supervised], None] = field(default=lambda state: None)
    _code: int = field(default=0, init=False)
    _stopped: threading.Event = field(default_factory=threading.Event, init=False)

    def stop(self) -> None:
        """Stop the process and do not restart it."""
        self._stopped.set()

    def run(self) -> int:
        """Run until stopped; return 0, or 130 after SIGINT. Call from the main thread, as it handles signals.

        Raises :class:`FedfrError` when there is no such command, or no command at the first start.
        """
        command = self._made()
        if shutil.which(command[0]) is None:
            raise FedfrError(f"there is no program {command[0]}; install it or check the path")
        before = self._mind_signals()
        state = Supervised()
        try:
            while True:
                started = time.monotonic()
                ended = self._once(command, state) if command else state.problem
                if self._stopped.is_set():
                    return self._code
                ran = time.monotonic() - started
                wait = self.backoff.after(ran)
                problem = f"{ended} after {ran:.0f} s" if command else ended
                _log.warning("%s; start %d follows in %g s", problem, state.starts + 1, wait)
                now = datetime.now(UTC)
                state = replace(
                    state,
                    process=None,
                    since=_told(now),
                    problem=problem,
                    problem_since=_told(now),
                    next_start=_told(now + timedelta(seconds=wait)),
                )
                self.on_change(state)
                if self._stopped.wait(wait):
                    return self._code
                try:
                    command = self._made()
                except FedfrError as error:
                    command, problem = [], str(error)
                state = replace(state, starts=state.starts + 1, problem=problem)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _made(self) -> Sequence[str]:
        return self.command() if callable(self.command) else self.command

    def _once(self, command: Sequence[str], state: Supervised) -> str:
        """Run the process to its end and return its result."""
        guarded = [sys.executable, "-c", _GUARD, str(os.getpid()), *command]
        process = subprocess.Popen(
            guarded, env=dict(self.environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        reader = threading.Thread(
            target=relay, args=(process.stdout, self._name(command)), kwargs={"private": self.private}, daemon=True
        )
        reader.start()
        self.on_start(process.pid)
        self.on_change(replace(state, process=process.pid, since=_told(datetime.now(UTC)), next_start=""))
        _log.info("%s started as process %d", self._name(command), process.pid)
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
        # Its children may run, and print, for longer.
        reader.join(2)
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"{Path(command[0]).name} {how}"

    @staticmethod
    def _name(command: Sequence[str]) -> str:
        return Path(command[0]).name.removeprefix("flower-")

    def _mind_signals(self) -> dict[int, Callable[[int, FrameType | None], object] | int | None]:
        if threading.current_thread() is not threading.main_thread():
            return {}

        def stop(number: int, frame: FrameType | None) -> None:
            self._code = 130 if number == signal.SIGINT else 0
            self.stop()

        return {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
