"""Queue of submitted runs: started one after another, restarted if their process is gone, stopped if withdrawn."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from fedfr.core.errors import FedfrError
from fedfr.core.locks import is_locked
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.processes import ControlClient

__all__ = ["RESTART_DELAY", "RunQueue"]

RESTART_DELAY, RESTART_DEADLINE = 60.0, 1800.0
"""Seconds without a process executing a started run, after which it is started again: the first if the SuperLink does
not wait for such a process, the second in any case."""


class RunQueue:
    """Executes a coordinator's submitted runs through its SuperLink.

    ``control``: client of the SuperLink. ``log`` receives one line per action. ``clock``: monotonic time in seconds.
    ``log_errors``: context manager that logs an error of the named task and lets the others continue.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        control: ControlClient,
        log: Callable[[str], None],
        clock: Callable[[], float],
        log_errors: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self.coordinator = coordinator
        self.log = log
        self.clock = clock
        self._control = control
        self._log_errors = log_errors
        # By run: time when it was last seen active, or was started.
        self._last_active: dict[str, float] = {}
        # By run: Flower's run id.
        self._run_ids: dict[str, str] = {}
        self._waiting_for: dict[str, str] = {}

    def forget(self) -> None:
        """Forget all started runs, after a restart of the SuperLink; they are started again."""
        self._last_active, self._run_ids = {}, {}

    def process(self) -> None:
        """Start the first run of the queue that the SuperLink accepts, when no other is active.

        Starts a run again if its process is gone although it has not finished, and stops runs that were withdrawn.
        """
        queue, now = self.coordinator.submitted(), self.clock()
        active = [path.name for path in sorted(self.coordinator.runs.iterdir()) if is_locked(path)]
        for name in active:
            if name in queue:
                self._last_active[name] = now
            else:
                self._stop(name)
        for name in [*self._last_active]:
            if name not in queue and name not in active:
                # Keep its run id: a run withdrawn while its process was starting is stopped once it is active.
                del self._last_active[name]
                self.log(self.coordinator.outcome(name))
        starting = [name for name in queue if name in self._last_active and not self._is_orphaned(name, now)]
        for name in queue:
            blocker = next((other for other in [*active, *starting] if other != name), None)
            if blocker is not None:
                if self._waiting_for.get(name) != blocker:
                    self._waiting_for[name] = blocker
                    self.log(f"run {name} waits for {blocker}")
            elif name not in active and name not in starting and self._start(name):
                starting.append(name)

    def _start(self, name: str) -> bool:
        """Start a Flower run; return whether the SuperLink accepted it."""
        self._waiting_for.pop(name, None)
        with self._log_errors(f"run {name}"):
            restarted = name in self._last_active
            self._run_ids[name] = self._control.submit(name)
            self._last_active[name] = self.clock()
            action = "is started again: no process was executing it" if restarted else "is started or resumed"
            self.log(f"run {name} {action}")
            return True
        return False

    def _is_orphaned(self, name: str, now: float) -> bool:
        """Return whether a started run has no process executing it and none that is about to start.

        On a busy machine a process may take minutes to start; the SuperLink's run status tells whether it still waits.
        """
        idle = now - self._last_active[name]
        if idle < RESTART_DELAY or idle >= RESTART_DEADLINE or name not in self._run_ids:
            return idle >= RESTART_DELAY
        try:
            return self._control.state(self._run_ids[name]).ended
        except FedfrError:
            return True

    def _stop(self, name: str) -> None:
        """Stop a run that was withdrawn while active; errors are retried at the next poll."""
        if (run_id := self._run_ids.get(name)) is not None:
            with self._log_errors(f"run {name}"):
                self._control.stop(run_id)
                del self._run_ids[name]
                self.log(f"run {name} is stopped: it was withdrawn")
