"""Service behind ``fedfr server run``: runs SuperLink and proxy, registers sites, and executes submitted runs.

The coordinator's folder holds the whole state: keys in ``sites/`` are registered at the SuperLink, and runs that are
marked as submitted are started or resumed one after another. Whatever was killed (this process, the SuperLink, or the
process of a run), starting this service again recovers.
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
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_json
from fedfr.core.locks import locked
from fedfr.deployment.address import Address, await_free_port, listen_addresses
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.processes import ControlClient, environment, superlink_command
from fedfr.deployment.proxy import find_nginx
from fedfr.deployment.routes import tracker_proxies
from fedfr.deployment.run_queue import RunQueue
from fedfr.deployment.site_status_file import timestamp
from fedfr.deployment.state_files import SERVING
from fedfr.deployment.supervisor import Backoff, Supervisor

__all__ = ["CoordinatorService"]

_log = logging.getLogger("fedfr.deployment")
POLL_INTERVAL = 2.0
"""Seconds between two polls of the folder."""
STARTUP_TIMEOUT = 120.0
"""Longest wait in seconds for a started SuperLink to accept connections."""


@dataclass
class CoordinatorService:
    """Service of a coordinator: its supervised processes, and the loop that applies changes of its folder.

    ``log`` receives one line per action. ``backoff`` makes the restart delays of each process. ``control``: client of
    the SuperLink, by default Flower's commands. ``clock``: monotonic time in seconds.
    """

    coordinator: Coordinator
    log: Callable[[str], None] = field(default=lambda text: None)
    backoff: Callable[[], Backoff] = Backoff
    control: ControlClient | None = None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        folder, config = self.coordinator.folder.resolve(), self.coordinator.config
        self._address = Address("127.0.0.1", config.inner_port)
        self._flower_home = folder / "flower"
        self._nodes = folder / "nodes.json"
        self._control = self.control or ControlClient(
            self._address, self._flower_home, self.coordinator.tls.resolve() / "ca.crt"
        )
        self._started = threading.Event()
        self._stopped = threading.Event()
        # Registrations at the SuperLink: client id and key by Flower's node id.
        self._registrations: dict[int, tuple[str, str]] = {}
        # Last content of nodes.json; None if unknown.
        self._written_nodes: dict[str, str] | None = None
        self._queue = RunQueue(self.coordinator, self._control, self.log, self.clock, self._log_errors)
        self._statuses: dict[str, Mapping[str, Any]] = {}
        self._status_lock = threading.Lock()
        self._errors: dict[str, str] = {}
        self._failed = False
        proxies, unusable = tracker_proxies(os.environ) if config.track else ({}, [])
        for message in unusable:
            self.log(message)
        self._link = Supervisor(
            partial(self._command, superlink_command(self._address, self.coordinator.tls.resolve()), config.inner_port),
            environment(
                self._flower_home, self.coordinator.runs.resolve(), self._nodes, track=config.track, proxies=proxies
            ),
            self.backoff(),
            on_start=lambda pid: self._started.set(),
            on_change=lambda state: self._write_status("superlink", asdict(state)),
            private=False,
        )

    def stop(self) -> None:
        """Stop all processes and do not restart them; :meth:`run` then returns."""
        self._stopped.set()
        self._link.stop()

    def run(self) -> int:
        """Run until stopped and return the exit code; call from the main thread, because it handles signals.

        Returns 0 after :meth:`stop` or SIGTERM, 130 after SIGINT, and 1 if a part of the service failed. Raises
        :class:`FedfrError` if another process serves this folder or uses its ports, if Flower or nginx is missing, and
        for an IPv6 host if this machine has no IPv6.
        """
        if find_nginx() is None:
            raise FedfrError("nginx is not installed; apt install nginx-light (or nginx)")
        self.coordinator.check_families()
        with locked(self.coordinator.folder):
            # The status of the previous process is outdated.
            (self.coordinator.folder / SERVING).unlink(missing_ok=True)
            proxy = self._proxy()
            targets = (proxy.run, self._poll_loop)
            threads = [threading.Thread(target=self._run_thread, args=(target,), daemon=True) for target in targets]
            for thread in threads:
                thread.start()
            try:
                return self._link.run() or int(self._failed)
            finally:
                self._stopped.set()
                proxy.stop()
                for thread in threads:
                    thread.join(30)

    def _run_thread(self, target: Callable[[], object]) -> None:
        """Run one part of the service; if it ends by itself, stop the service, so that the caller can restart it."""
        try:
            target()
        except FedfrError as error:
            self.log(str(error))
        except Exception:  # noqa: BLE001 - any error ends this part of the service
            _log.exception("a part of the coordinator failed; it stops")
        if not self._stopped.is_set():
            self._failed = True
            self.stop()

    def _proxy(self) -> Supervisor:
        proxy = self.coordinator.proxy
        proxy.folder.mkdir(exist_ok=True)
        path = proxy.folder.resolve() / "nginx.conf"
        path.write_text(proxy.configuration(), encoding="utf-8")
        command = [find_nginx() or "nginx", "-p", str(proxy.folder.resolve()), "-c", str(path), "-e", "stderr"]
        return Supervisor(
            partial(self._command, command, self.coordinator.config.port),
            environment(self._flower_home),
            self.backoff(),
            on_change=lambda state: self._write_status("nginx", asdict(state)),
            private=False,
        )

    def _command(self, command: Sequence[str], port: int) -> Sequence[str]:
        """Return the command after checking that its port is free; otherwise the process would start in vain."""
        addresses = (
            [(socket.AF_INET, "127.0.0.1")] if port == self.coordinator.config.inner_port else listen_addresses()
        )
        await_free_port(port, addresses, self.coordinator.folder)
        return command

    def _poll_loop(self) -> None:
        while not self._stopped.wait(POLL_INTERVAL):
            self.poll()

    def poll(self) -> None:
        """Apply changes of the folder: register and unregister sites, start and stop runs.

        After a restart of the SuperLink, which starts without any state, all sites are registered again.
        """
        with self._log_errors("folder"):
            if self._started.is_set():
                self._started.clear()
                self._registrations, self._written_nodes = {}, None
                self._queue.forget()
                self._write_nodes({})
                if not self._wait_for_superlink():
                    return
            self._register_sites()
            self._queue.process()

    @contextmanager
    def _log_errors(self, what: str) -> Iterator[None]:
        """Log an error once, not at every poll, and let the other tasks continue."""
        try:
            yield
        except (FedfrError, OSError) as error:
            message = str(error)
            if isinstance(error, OSError):
                message = f"cannot read {self.coordinator.folder}: {error.strerror or error}"
            if self._errors.get(what) != message:
                self._errors[what] = message
                self.log(message)
                self._write_status(what, {"problem": message, "problem_since": timestamp()})
        else:
            if self._errors.pop(what, None) is not None:
                self._write_status(what, {})

    def _write_status(self, what: str, state: Mapping[str, Any]) -> None:
        """Record a status for ``fedfr server status``: of a process, or of an error and its time."""
        with self._status_lock:
            self._statuses[what] = state
            try:
                write_json(
                    self.coordinator.folder / SERVING,
                    {name: status for name, status in self._statuses.items() if status},
                )
            except FedfrError as error:
                _log.warning("%s", error)

    def _wait_for_superlink(self) -> bool:
        """Wait for the SuperLink to accept connections; return whether it does."""
        deadline = self.clock() + STARTUP_TIMEOUT
        while self.clock() < deadline and not self._stopped.is_set() and not self._started.is_set():
            if self._address.is_listening():
                return True
            self._stopped.wait(0.2)
        return False

    def _register_sites(self) -> None:
        """Make the SuperLink's keys and ``nodes.json`` match the folder; failures are retried at the next poll."""
        sites = self.coordinator.sites()
        keys = {client: _read_key(path) for client, path in sites.items()}
        # First stop accepting nodes whose key was removed, even if the SuperLink does not answer.
        self._write_nodes(keys)
        for number, (client, key) in [*self._registrations.items()]:
            if keys.get(client) != key:
                with self._log_errors(f"the former key of {client}"):
                    self._control.unregister(number)
                    del self._registrations[number]
                    self.log(f"the key of {client} is no longer accepted")
        for client, key in keys.items():
            # A restarted SuperLink receives all keys at the next poll; registering one twice is an error.
            if (client, key) not in self._registrations.values() and not self._started.is_set():
                with self._log_errors(f"site {client}"):
                    number = self._control.register(client, sites[client])
                    self._registrations[number] = client, key
                    self.log(f"{client} may take part")
                # At once: the site replies as soon as it is registered.
                self._write_nodes(keys)

    def _write_nodes(self, keys: Mapping[str, str]) -> None:
        owners = {
            str(number): client for number, (client, key) in self._registrations.items() if keys.get(client) == key
        }
        if owners != self._written_nodes:
            with self._log_errors("nodes.json"):
                write_json(self._nodes, owners)
                self._written_nodes = owners


def _read_key(key: Path) -> str:
    return key.read_text(encoding="ascii", errors="replace")
