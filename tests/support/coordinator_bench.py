"""A coordinator service with a control client that records its calls, and a clock that tests advance."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.deployment.address import Address
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.coordinator_service import CoordinatorService
from fedfr.deployment.processes import ControlClient, FlowerRunStatus
from fedfr.deployment.secrets import make_node_key, save_key
from fedfr.deployment.state_files import SUBMITTED

__all__ = ["Bench", "RecordingControl"]


class RecordingControl(ControlClient):
    """Control client without a SuperLink; ``broken``: node ids, clients and runs that it rejects."""

    def __init__(self, home: Path) -> None:
        super().__init__(Address("127.0.0.1", 1), home)
        self.registered: list[str] = []
        self.started: list[str] = []
        self.unregistered: list[int] = []
        self.broken: set[str] = set()
        self.stopped: list[str] = []
        # Run ids whose process the SuperLink still waits for; all others have ended.
        self.starting: set[str] = set()

    def unregister(self, node: int) -> None:
        self._fail_if_broken(str(node))
        self.unregistered.append(node)

    def register(self, client: str, key: Path) -> int:
        assert key.read_text("ascii").startswith("ecdsa-sha2-nistp384 ")
        self._fail_if_broken(client)
        self.registered.append(client)
        return 2**63 + len(self.registered)

    def submit(self, run: str) -> str:
        self._fail_if_broken(run)
        self.started.append(run)
        return str(len(self.started))

    def stop(self, run_id: str) -> None:
        self._fail_if_broken(run_id)
        self.stopped.append(run_id)

    def state(self, run_id: str) -> FlowerRunStatus:
        return FlowerRunStatus("starting" if run_id in self.starting else "finished:failed", "")

    def _fail_if_broken(self, name: str) -> None:
        if name in self.broken:
            raise FedfrError(f"the SuperLink did not take {name}")


@dataclass
class Bench:
    """Service of a coordinator with its control client, its clock and its log lines."""

    service: CoordinatorService
    coordinator: Coordinator
    control: RecordingControl
    now: float = 0.0
    logged: list[str] = field(default_factory=list)

    def poll(self, later: float = 2.0) -> list[str]:
        """Poll ``later`` seconds after the last poll; return the new log lines."""
        self.logged.clear()
        self.now += later
        self.service.poll()
        return [*self.logged]

    def restart_superlink(self) -> None:
        """Report a new process of the SuperLink, as its supervisor does."""
        self.control.registered.clear()
        self.service._link.on_start(1)

    def submit(self, name: str) -> Path:
        """Mark a run as submitted."""
        folder = self.coordinator.runs / name
        folder.mkdir(exist_ok=True)
        (folder / SUBMITTED).write_bytes(b"")
        return folder

    def register_site(self, client: str, key_file: str = "") -> None:
        key = self.coordinator.folder / (key_file or f"{client}.key")
        save_key(key, make_node_key())
        self.coordinator.register(client, key.with_name(f"{key.name}.pub"))

    def nodes(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.coordinator.folder / "nodes.json").read_text("utf-8"))
        return found
