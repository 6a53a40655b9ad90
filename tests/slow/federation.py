"""A federation of real processes on this machine: a SuperLink, and a SuperNode for every site."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tiny import bits, tiny_config

from fedfr.config import load_config
from fedfr.deployment.handout import hand_out
from fedfr.deployment.processes import Address, environment, submit, superlink, supernode
from fedfr.experiment import Experiment

SETTINGS = (
    "split.settings.clients=3",
    "split.settings.identities_per_client=2",
    "deployment.poll=0.2",
)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 240) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"{what} did not come within {seconds:g} s"
        time.sleep(0.1)


class Federation:
    """Folders for everybody, made from a tiny experiment, and the processes that work on them."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.folder = folder
        config = tiny_config(folder, *SETTINGS, *overrides)
        self.local = Experiment.create(config, folder / "local")
        self.clients = hand_out(self.local.parts, folder / "federation")
        self.run = folder / "runs" / "demo"
        self.remote = Experiment.create(load_config(folder / "federation" / "coordinator" / "config.yaml"), self.run)
        self.link = Address("127.0.0.1", free_port())
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def site(self, client: str) -> Path:
        return self.folder / "federation" / "sites" / client

    def start_link(self) -> None:
        self._start("link", superlink(self.link), environment(self.folder / "home", self.folder / "runs"))
        wait_for(self._listens, "the SuperLink")

    def start_site(self, client: str) -> None:
        own = Address("127.0.0.1", free_port())
        command = supernode(self.link, self.site(client) / "site.yaml", own)
        self._start(client, command, environment(self.folder / f"home-{client}"))

    def start(self) -> None:
        """Everything, and a run."""
        self.start_link()
        for client in self.clients:
            self.start_site(client)
        submit(self.link, "demo", self.folder / "home-operator")

    def kill(self, name: str) -> None:
        """SIGKILL to this one process; what it started must end by itself."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for(lambda: not group(process.pid), f"the end of what {name} had started", 30)

    def stop(self) -> None:
        for process in self.processes.values():
            if group(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def works(self, client: str) -> bool:
        """Whether a process of this site holds its private folder: it trains."""
        for lock in (self.site(client) / "private").glob("*/.lock"):
            with lock.open("r+b") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    return True
        return False

    def events(self, kind: str) -> list[dict[str, Any]]:
        path = self.run / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def finished(self) -> bool:
        return self.remote.finished

    def log(self) -> str:
        return (self.folder / "link.log").read_text(encoding="utf-8", errors="replace")

    def tensors(self) -> dict[str, bytes]:
        """Every model of the coordinator and every private state of the sites, named as in a local run."""
        found = bits(self.run)
        for client in self.clients:
            for name, value in bits(self.site(client) / "private").items():
                found[f"clients/{client}/{name.partition('/')[2]}"] = value
        return found

    def expected(self) -> dict[str, bytes]:
        """The same of the local run; a personal model is made by its site alone."""
        return {name: value for name, value in bits(self.local.folder).items() if "/personal.safetensors" not in name}

    def _start(self, name: str, command: list[str], env: dict[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env={**env, "OMP_NUM_THREADS": "1"}, stdout=log, stderr=log, start_new_session=True
            )

    def _listens(self) -> bool:
        try:
            socket.create_connection((self.link.host, self.link.port), 1).close()
        except OSError:
            return False
        return True


def group(leader: int) -> list[int]:
    """Living processes of a process group."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, _, number = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:3]
            except OSError:
                continue
            if int(number) == leader and state != "Z":
                found.append(int(folder.name))
    return found
