"""Supervisor of one process: starts it, restarts it when it ends, and stops it on exit."""

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

__all__ = ["Backoff", "ProcessStatus", "Supervisor"]

_log = logging.getLogger("fedfr.deployment")
# Asks the kernel for SIGTERM when the parent dies (PR_SET_PDEATHSIG, linux/prctl.h) and then becomes the command.
# Otherwise a killed supervisor would leave its process running, and the next supervisor would start a second one. The
# check of the parent covers a parent that died before the call.
_DIE_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


# How soon a request to stop is noticed, in seconds.
_POLL = 0.2


@dataclass
class Backoff:
    """Delays between restarts in seconds: ``initial``, doubled each time up to ``maximum``.

    After a process that ran for at least ``reset_after`` seconds the delays start again at ``initial``.
    """

    initial: float = 1.0
    maximum: float = 60.0
    reset_after: float = 300.0
    _next: float = field(default=0.0, init=False)

    def next_delay(self, seconds: float) -> float:
        """Return the delay after a process that ran for so many seconds."""
        if self._next == 0.0 or seconds >= self.reset_after:
            self._next = self.initial
        delay, self._next = self._next, min(2 * self._next, self.maximum)
        return delay


@dataclass(frozen=True)
class ProcessStatus:
    """Status of a supervised process.

    ``process``: its id, None while it is down. ``since``: time of the last start or end. ``starts``: number of starts
    by this supervisor. ``problem`` and ``problem_since``: how the process last ended, or why it could not start.
    ``next_start``: time of the next start. Times are ISO texts, empty if there is none.
    """

    process: int | None = None
    since: str = ""
    starts: int = 1
    problem: str = ""
    problem_since: str = ""
    next_start: str = ""


def _format_time(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


@dataclass
class Supervisor:
    """Runs ``command`` with the environment ``environment`` until :meth:`stop`, SIGTERM or SIGINT.

    ``command`` may be a function that is called before every start; a :class:`FedfrError` from it counts as a failed
    start. After SIGTERM the process has ``grace_period`` seconds to end before it is killed. If this process is killed,
    the kernel sends SIGTERM to the supervised one (Linux). ``on_start`` receives the process id of every start,
    ``on_change`` the status after every start and end. The process's output is logged; ``private`` removes paths and
    quoted names from the shareable log.
    """

    command: Sequence[str] | Callable[[], Sequence[str]]
    environment: Mapping[str, str]
    backoff: Backoff = field(default_factory=Backoff)
    grace_period: float = 15.0
    private: bool = True
    on_start: Callable[[int], None] = field(default=lambda pid: None)
    on_change: Callable[[ProcessStatus], None] = field(default=lambda state: None)
    _code: int = field(default=0, init=False)
    # No threading.Event: a signal handler that interrupts itself, or a wait, would block on the event's lock for ever.
    _stopped: bool = field(default=False, init=False)

    def stop(self) -> None:
        """Stop the process and do not restart it."""
        self._stopped = True

    def run(self) -> int:
        """Run until stopped; return 0, or 130 after SIGINT. Call from the main thread to handle signals.

        Raises :class:`FedfrError` if the program does not exist, or if ``command`` raises it at the first start.
        """
        command = self._current_command()
        if shutil.which(command[0]) is None:
            raise FedfrError(f"program {command[0]} not found; install it or check the path")
        before = self._install_signal_handlers()
        state = ProcessStatus()
        try:
            while True:
                started = time.monotonic()
                ended = self._run_once(command, state) if command else state.problem
                if self._stopped:
                    return self._code
                seconds = time.monotonic() - started
                delay = self.backoff.next_delay(seconds)
                problem = f"{ended} after {seconds:.0f} s" if command else ended
                _log.warning("%s; start %d follows in %g s", problem, state.starts + 1, delay)
                now = datetime.now(UTC)
                state = replace(
                    state,
                    process=None,
                    since=_format_time(now),
                    problem=problem,
                    problem_since=_format_time(now),
                    next_start=_format_time(now + timedelta(seconds=delay)),
                )
                self.on_change(state)
                if self._wait(delay):
                    return self._code
                try:
                    command = self._current_command()
                except FedfrError as error:
                    command, problem = [], str(error)
                state = replace(state, starts=state.starts + 1, problem=problem)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _wait(self, seconds: float) -> bool:
        """Wait, at most until :meth:`stop`; return whether it was called."""
        deadline = time.monotonic() + seconds
        while not self._stopped and (remaining := deadline - time.monotonic()) > 0:
            time.sleep(min(remaining, _POLL))
        return self._stopped

    def _current_command(self) -> Sequence[str]:
        return self.command() if callable(self.command) else self.command

    def _run_once(self, command: Sequence[str], state: ProcessStatus) -> str:
        """Run the process to its end; return how it ended."""
        wrapped = [sys.executable, "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]
        process = subprocess.Popen(
            wrapped, env=dict(self.environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        reader = threading.Thread(
            target=relay, args=(process.stdout, self._name(command)), kwargs={"private": self.private}, daemon=True
        )
        reader.start()
        self.on_start(process.pid)
        self.on_change(replace(state, process=process.pid, since=_format_time(datetime.now(UTC)), next_start=""))
        _log.info("%s started as process %d", self._name(command), process.pid)
        ended = threading.Event()

        def end_when_stopped() -> None:
            while not ended.is_set():
                if self._wait(_POLL):
                    process.terminate()
                    if not ended.wait(self.grace_period):
                        process.kill()
                    return

        watch = threading.Thread(target=end_when_stopped, daemon=True)
        watch.start()
        code = process.wait()
        ended.set()
        watch.join()
        # Its children may run, and write output, for longer.
        reader.join(2)
        outcome = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"{Path(command[0]).name} {outcome}"

    @staticmethod
    def _name(command: Sequence[str]) -> str:
        return Path(command[0]).name.removeprefix("flower-")

    def _install_signal_handlers(self) -> dict[int, Callable[[int, FrameType | None], object] | int | None]:
        if threading.current_thread() is not threading.main_thread():
            return {}

        def stop(number: int, frame: FrameType | None) -> None:
            self._code = 130 if number == signal.SIGINT else 0
            self.stop()

        return {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
