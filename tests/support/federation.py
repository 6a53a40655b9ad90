"""A federation of real processes on this machine, which can be killed."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from tests.support.tiny_experiment import bits, tiny_config

from fedfr.config.schema import load_config
from fedfr.deployment.background import wait_for
from fedfr.deployment.loopback import Loopback
from fedfr.deployment.partition_export import export_partitions
from fedfr.experiments.experiment import Experiment

SETTINGS = (
    # Long enough for a process to be killed in the middle.
    "model.backbone=slimface",
    "split.settings.clients=3",
    "split.settings.identities_per_client=2",
    "deployment.poll=0.2",
)


class Federation(Loopback):
    """Folders of coordinator and sites from a tiny experiment, and their processes."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        config = tiny_config(folder, *SETTINGS, *overrides)
        self.local = Experiment.create(config, folder / "local")
        clients = export_partitions(self.local.components, folder / "federation", "demo")
        self.run = folder / "runs" / "demo"
        self.remote = Experiment.create(load_config(folder / "federation" / "coordinator" / "config.yaml"), self.run)
        sites = {client: folder / "federation" / "sites" / client / "site.yaml" for client in clients}
        super().__init__(folder / "processes", folder / "runs", sites)

    def start_run(self) -> str:
        """Everything, and a Flower run over the experiment."""
        self.start_all()
        return self.control.submit("demo")

    def kill(self, name: str) -> None:
        """SIGKILL to this one process; what it started must end by itself."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for(lambda: not group(process.pid), f"the end of what {name} had started", 180)

    def private(self, client: str) -> Path:
        return self.sites[client].parent / "private"

    def works(self, client: str) -> bool:
        """Whether a process of this site holds its private folder: it trains."""
        # Looked up, not tried: a lock of ours, however short, would keep the site out.
        held = Path("/proc/locks").read_text(encoding="ascii").split()
        locks = self.private(client).glob("*/.lock")
        return any(word.endswith(f":{lock.stat().st_ino}") for lock in locks for word in held)

    def events(self, kind: str) -> list[dict[str, Any]]:
        path = self.run / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def finished(self) -> bool:
        return self.remote.finished

    def tensors(self) -> dict[str, bytes]:
        """Every model of the coordinator and every private state of the sites, named as in a local run."""
        found = bits(self.run)
        for client in self.sites:
            for name, value in bits(self.private(client)).items():
                found[f"clients/{client}/{name.partition('/')[2]}"] = value
        return found

    def expected(self) -> dict[str, bytes]:
        """Return the result of the local run; personalized models are made by their site alone."""
        return {name: value for name, value in bits(self.local.folder).items() if "/personal.safetensors" not in name}


def group(leader: int) -> list[int]:
    """Running processes of a process group."""
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
