"""``fedfr server run``: SuperLink and proxy kept running, registered sites let in, submitted runs worked on.

Everything is said through the coordinator's folder: a key that appears in ``sites/`` is registered, a run that is
marked as submitted is begun or gone on with. So whatever is killed – this process, the SuperLink, a run – is made good
by starting this again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which

from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.processes import Address, Control, environment, superlink
from fedfr.deployment.supervisor import Backoff, Supervisor
from fedfr.errors import FedfrError
from fedfr.files import is_locked, locked, write_json

__all__ = ["Serving"]

_log = logging.getLogger("fedfr.deployment")
LOOK = 2.0
"""Seconds between two looks into the folder."""
STARTUP = 120.0
GONE = 60.0
"""Seconds without a process at work on a run, from which on it is begun again."""


@dataclass
class Serving:
    """The coordinator at work, until :meth:`stop`; ``note`` is told, a line each, what is done.

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
        # By Flower's number of the node, the site and its key.
        self._registered: dict[int, tuple[str, str]] = {}
        self._seen: dict[str, float] = {}
        self._failing: dict[str, str] = {}
        self._link = Supervisor(
            superlink(self._address, self.coordinator.tls.resolve()),
            environment(self._home, self.coordinator.runs.resolve(), self._nodes, track=config.track),
            self.backoff(),
            on_start=lambda pid: self._started.set(),
        )

    def stop(self) -> None:
        """End everything that was started."""
        self._stopped.set()
        self._link.stop()

    def run(self) -> int:
        """Serve until stopped; called from the main thread, it minds SIGTERM and SIGINT.

        Raises :class:`FedfrError` when another process serves this folder, and without Flower or nginx.
        """
        if which("nginx") is None:
            raise FedfrError("there is no nginx on this machine; apt install nginx-light (or nginx)")
        with locked(self.coordinator.folder):
            proxy = self._proxy()
            helpers = [threading.Thread(target=work, daemon=True) for work in (proxy.run, self._keep_looking)]
            for helper in helpers:
                helper.start()
            try:
                return self._link.run()
            finally:
                self._stopped.set()
                proxy.stop()
                for helper in helpers:
                    helper.join(30)

    def _proxy(self) -> Supervisor:
        proxy = self.coordinator.proxy
        proxy.folder.mkdir(exist_ok=True)
        path = proxy.folder.resolve() / "nginx.conf"
        path.write_text(proxy.configuration(), encoding="utf-8")
        command = ["nginx", "-p", str(proxy.folder.resolve()), "-c", str(path), "-e", "stderr"]
        return Supervisor(command, environment(self._home), self.backoff())

    def _keep_looking(self) -> None:
        while not self._stopped.wait(LOOK):
            self.look()

    def look(self) -> None:
        """Do what the folder says since the last time: let sites in or out, begin runs; all anew after a restart."""
        with self._noted("the folder"):
            if self._started.is_set():
                self._started.clear()
                self._registered, self._seen = {}, {}
                write_json(self._nodes, {})
                if not self._answers():
                    return
            self._unregister()
            self._register()
            self._submit()

    @contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        """What fails is said once, not at every look, and keeps nothing else from being done."""
        try:
            yield
        except (FedfrError, OSError) as error:
            said = str(error)
            if isinstance(error, OSError):
                said = f"cannot look into {self.coordinator.folder}: {error.strerror or error}"
            if self._failing.get(what) != said:
                self._failing[what] = said
                self.note(said)
        else:
            self._failing.pop(what, None)

    def _answers(self) -> bool:
        """Whether the SuperLink takes connections within a while."""
        ends = self.clock() + STARTUP
        while self.clock() < ends and not self._stopped.is_set() and not self._started.is_set():
            if self._address.answers():
                return True
            self._stopped.wait(0.2)
        return False

    def _unregister(self) -> None:
        """Whose key is gone from the folder, or is another now."""
        keys = {client: _content(key) for client, key in self.coordinator.sites().items()}
        for number, (client, key) in [*self._registered.items()]:
            if keys.get(client) != key:
                # First of all nobody listens to this node any more, whatever the SuperLink says.
                del self._registered[number]
                self._write_nodes()
                with self._noted(f"the former key of {client}"):
                    self._control.unregister(number)
                    self.note(f"the key of {client} is good for nothing any more")

    def _register(self) -> None:
        known = {client for client, _ in self._registered.values()}
        for client, key in self.coordinator.sites().items():
            if client not in known:
                with self._noted(f"site {client}"):
                    number = self._control.register(client, key)
                    self._registered[number] = client, _content(key)
                    self._write_nodes()
                    self.note(f"{client} may take part")

    def _write_nodes(self) -> None:
        write_json(self._nodes, {str(node): client for node, (client, _) in self._registered.items()})

    def _submit(self) -> None:
        """Begin what is submitted; once more where whoever worked on it is gone without having finished."""
        submitted, now = self.coordinator.submitted(), self.clock()
        for name in submitted:
            if is_locked(self.coordinator.runs / name):
                self._seen[name] = now
            elif now - self._seen.get(name, -GONE) >= GONE:
                with self._noted(f"run {name}"):
                    again = name in self._seen
                    self._control.submit(name)
                    self._seen[name] = self.clock()
                    how = "is begun again: nobody worked on it" if again else "has begun, or goes on"
                    self.note(f"run {name} {how}")
        for name in [*self._seen]:
            if name not in submitted:
                del self._seen[name]
                self.note(self.coordinator.outcome(name))


def _content(key: Path) -> str:
    return key.read_text(encoding="ascii", errors="replace")
