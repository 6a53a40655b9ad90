"""``fedfr server run``: run SuperLink and proxy, register sites, and execute submitted runs.

Everything is said through the coordinator's folder: a key that appears in ``sites/`` is registered, runs that are
marked as submitted are begun or gone on with, one after the other. So whatever is killed – this process, the SuperLink,
a run – is made good by starting this again.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from shutil import which
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.core.files import is_locked, locked, write_json
from fedfr.deployment.address import Address, listening, take_port
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.processes import Control, environment, superlink
from fedfr.deployment.routes import trackers_proxies
from fedfr.deployment.run_state import SERVING
from fedfr.deployment.site_board import now
from fedfr.deployment.supervisor import Backoff, Supervisor

__all__ = ["Serving"]

_log = logging.getLogger("fedfr.deployment")
LOOK = 2.0
"""Seconds between two polls of the folder."""
STARTUP = 120.0
GONE, STUCK = 60.0, 1800.0
"""Seconds without a process at work on a run, from which on it is begun again: when the SuperLink waits for none
either, and in any case."""


@dataclass
class Serving:
    """Running coordinator, until :meth:`stop`; ``note`` receives one line per action.

    ``control``: what talks to the SuperLink, by default Flower's commands; ``clock``: seconds that never go back.
    """

    coordinator: Coordinator
    note: Callable[[str], None] = field(default=lambda text: None)
    backoff: Callable[[], Backoff] = Backoff
    control: Control | None = None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        folder, config = self.coordinator.folder.resolve(), self.coordinator.config
        self._address = Address("127.0.0.1", config.inner_port)
        self._home = folder / "flower"
        self._nodes = folder / "nodes.json"
        self._control = self.control or Control(self._address, self._home, self.coordinator.tls.resolve() / "ca.crt")
        self._started = threading.Event()
        self._stopped = threading.Event()
        # Registrations at the SuperLink: site and key by Flower's node number.
        self._registered: dict[int, tuple[str, str]] = {}
        # Contents of the file of nodes; None when unknown.
        self._written: dict[str, str] | None = None
        # Time when each run was last seen active, or started.
        self._seen: dict[str, float] = {}
        # Flower's numbers of the started runs.
        self._begun: dict[str, str] = {}
        self._waits: dict[str, str] = {}
        self._told: dict[str, Mapping[str, Any]] = {}
        self._telling = threading.Lock()
        self._failing: dict[str, str] = {}
        self._broken = False
        proxies, unusable = trackers_proxies(os.environ) if config.track else ({}, [])
        for said in unusable:
            self.note(said)
        self._link = Supervisor(
            partial(self._command, superlink(self._address, self.coordinator.tls.resolve()), config.inner_port),
            environment(self._home, self.coordinator.runs.resolve(), self._nodes, track=config.track, proxies=proxies),
            self.backoff(),
            on_start=lambda pid: self._started.set(),
            on_change=lambda state: self._tell("superlink", asdict(state)),
            private=False,
        )

    def stop(self) -> None:
        """Stop every process that was started."""
        self._stopped.set()
        self._link.stop()

    def run(self) -> int:
        """Serve until stopped; call from the main thread, because it handles SIGTERM and SIGINT.

        Raises :class:`FedfrError` when another process serves this folder or has its ports, without Flower or nginx,
        and for a host of an address family that this machine does not have.
        """
        if which("nginx") is None:
            raise FedfrError("there is no nginx on this machine; apt install nginx-light (or nginx)")
        self.coordinator.check_families()
        with locked(self.coordinator.folder):
            # The status of the previous process is outdated.
            (self.coordinator.folder / SERVING).unlink(missing_ok=True)
            proxy = self._proxy()
            works = (proxy.run, self._keep_looking)
            helpers = [threading.Thread(target=self._helping, args=(work,), daemon=True) for work in works]
            for helper in helpers:
                helper.start()
            try:
                return self._link.run() or int(self._broken)
            finally:
                self._stopped.set()
                proxy.stop()
                for helper in helpers:
                    helper.join(30)

    def _helping(self, work: Callable[[], object]) -> None:
        """Stop everything when one part ends by itself, so that the caller can restart the whole."""
        try:
            work()
        except FedfrError as error:
            self.note(str(error))
        except Exception:  # noqa: BLE001 - whatever it is, this part of the coordinator is gone
            _log.exception("the coordinator ends")
        if not self._stopped.is_set():
            self._broken = True
            self.stop()

    def _proxy(self) -> Supervisor:
        proxy = self.coordinator.proxy
        proxy.folder.mkdir(exist_ok=True)
        path = proxy.folder.resolve() / "nginx.conf"
        path.write_text(proxy.configuration(), encoding="utf-8")
        command = ["nginx", "-p", str(proxy.folder.resolve()), "-c", str(path), "-e", "stderr"]
        told = partial(self._tell, "nginx")
        return Supervisor(
            partial(self._command, command, self.coordinator.config.port),
            environment(self._home),
            self.backoff(),
            on_change=lambda state: told(asdict(state)),
            private=False,
        )

    def _command(self, command: Sequence[str], port: int) -> Sequence[str]:
        """Return the command after checking that its port is free, to avoid useless restarts."""
        here = [(socket.AF_INET, "127.0.0.1")] if port == self.coordinator.config.inner_port else listening()
        take_port(port, here, self.coordinator.folder)
        return command

    def _keep_looking(self) -> None:
        while not self._stopped.wait(LOOK):
            self.look()

    def look(self) -> None:
        """Apply changes of the folder: register or unregister sites, start runs; everything after a restart."""
        with self._noted("the folder"):
            if self._started.is_set():
                self._started.clear()
                self._registered, self._seen, self._begun, self._written = {}, {}, {}, None
                self._write_nodes({})
                if not self._answers():
                    return
            self._let_in()
            self._submit()

    @contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        """Log an error once, not at every poll, without stopping the other tasks."""
        try:
            yield
        except (FedfrError, OSError) as error:
            said = str(error)
            if isinstance(error, OSError):
                said = f"cannot read {self.coordinator.folder}: {error.strerror or error}"
            if self._failing.get(what) != said:
                self._failing[what] = said
                self.note(said)
                self._tell(what, {"problem": said, "problem_since": now()})
        else:
            if self._failing.pop(what, None) is not None:
                self._tell(what, {})

    def _tell(self, what: str, state: Mapping[str, Any]) -> None:
        """Write the status for ``fedfr server status``: state of the processes, and errors with their start."""
        with self._telling:
            self._told[what] = state
            try:
                write_json(self.coordinator.folder / SERVING, {name: told for name, told in self._told.items() if told})
            except FedfrError as error:
                _log.warning("%s", error)

    def _answers(self) -> bool:
        """Wait for the SuperLink to accept connections; return whether it does."""
        ends = self.clock() + STARTUP
        while self.clock() < ends and not self._stopped.is_set() and not self._started.is_set():
            if self._address.answers():
                return True
            self._stopped.wait(0.2)
        return False

    def _let_in(self) -> None:
        """Synchronize the registered keys of the SuperLink, and the file of node owners, with the folder.

        Whatever fails is done at the next look.
        """
        sites = self.coordinator.sites()
        keys = {client: _content(path) for client, path in sites.items()}
        # First stop accepting nodes whose key was removed, even if the SuperLink fails.
        self._write_nodes(keys)
        for number, (client, key) in [*self._registered.items()]:
            if keys.get(client) != key:
                with self._noted(f"the former key of {client}"):
                    self._control.unregister(number)
                    del self._registered[number]
                    self.note(f"the key of {client} is no longer accepted")
        for client, key in keys.items():
            # A restarted SuperLink receives everything at the next poll, and nothing twice.
            if (client, key) not in self._registered.values() and not self._started.is_set():
                with self._noted(f"site {client}"):
                    number = self._control.register(client, sites[client])
                    self._registered[number] = client, key
                    self.note(f"{client} may take part")
                # At once: the site replies as soon as it is registered.
                self._write_nodes(keys)

    def _write_nodes(self, keys: Mapping[str, str]) -> None:
        rightful = {
            str(number): client for number, (client, key) in self._registered.items() if keys.get(client) == key
        }
        if rightful != self._written:
            with self._noted("the file of nodes"):
                write_json(self._nodes, rightful)
                self._written = rightful

    def _submit(self) -> None:
        """Start the first run of the queue that the SuperLink accepts, when no other is active.

        Once more where whoever worked on it is gone without having finished; stop one that was withdrawn.
        """
        queue, at = self.coordinator.submitted(), self.clock()
        at_work = [path.name for path in sorted(self.coordinator.runs.iterdir()) if is_locked(path)]
        for name in at_work:
            if name in queue:
                self._seen[name] = at
            else:
                self._stop(name)
        for name in [*self._seen]:
            if name not in queue and name not in at_work:
                # Its number is kept: a run withdrawn before its process started is stopped as soon as it has.
                del self._seen[name]
                self.note(self.coordinator.outcome(name))
        starting = [name for name in queue if name in self._seen and not self._gone(name, at)]
        for name in queue:
            ahead = next((other for other in [*at_work, *starting] if other != name), None)
            if ahead is not None:
                if self._waits.get(name) != ahead:
                    self._waits[name] = ahead
                    self.note(f"run {name} waits for {ahead}")
            elif name not in at_work and name not in starting and self._begin(name):
                starting.append(name)

    def _begin(self, name: str) -> bool:
        """Start a Flower run; return whether the SuperLink accepted it."""
        self._waits.pop(name, None)
        with self._noted(f"run {name}"):
            again = name in self._seen
            self._begun[name] = self._control.submit(name)
            self._seen[name] = self.clock()
            how = "is started again: no process was executing it" if again else "is started or resumed"
            self.note(f"run {name} {how}")
            return True
        return False

    def _gone(self, name: str, at: float) -> bool:
        """Return whether a started run has no process executing it and none about to.

        On a busy machine its process takes minutes to start; as long as the SuperLink waits for it, so does this.
        """
        unseen = at - self._seen[name]
        if unseen < GONE or unseen >= STUCK or name not in self._begun:
            return unseen >= GONE
        try:
            return self._control.state(self._begun[name]).over
        except FedfrError:
            return True

    def _stop(self, name: str) -> None:
        """Stop a run that was withdrawn while active; errors are retried at the next poll."""
        if (run_id := self._begun.get(name)) is not None:
            with self._noted(f"run {name}"):
                self._control.stop(run_id)
                del self._begun[name]
                self.note(f"run {name} is stopped: it was withdrawn")


def _content(key: Path) -> str:
    return key.read_text(encoding="ascii", errors="replace")
