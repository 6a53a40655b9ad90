"""Fixtures: deployments in folders, this machine as the checks see it, and a federation within this process."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.app import Context, Message, RecordDict
from tests.support.coordinator_bench import Bench, RecordingControl
from tests.support.deployment_folders import Deployment, edit
from tests.support.grid import Answers, FakeGrid, Node
from tests.support.https import Server, authority_in, serving
from tests.support.new_coordinator import new_coordinator
from tests.support.public_faces import FACES, FINGERPRINT
from tests.support.tiny_experiment import bits, tiny_config

from fedfr.config.schema import load_config
from fedfr.deployment.client_app import app
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.coordinator_service import CoordinatorService
from fedfr.deployment.partition_export import export_partitions
from fedfr.deployment.public_set import publish
from fedfr.deployment.secrets import make_node_key, save_key
from fedfr.deployment.server_app import flower_engine
from fedfr.experiments.experiment import Experiment
from fedfr.results.result_rows import Row


class Federation:
    """A tiny experiment on one machine (``local``) and as a federation (``remote``) whose nodes are the sites' apps.

    ``sites``: folder of each site by client id.
    """

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.folder = folder
        self.local = Experiment.create(tiny_config(folder, *overrides), folder / "local")
        clients = export_partitions(self.local.components, folder / "federation", "remote")
        self.sites = {client: folder / "federation" / "sites" / client for client in clients}
        config = load_config(folder / "federation" / "coordinator" / "config.yaml", ["deployment.join=5"])
        self.remote = Experiment.create(config, folder / "remote")
        if config.federation.secure == "sum":
            # It pins the keys of the sites.
            shutil.copy(folder / "federation" / "coordinator" / "agreement.yaml", folder / "remote")
        self.grid = FakeGrid({number: self.node(client) for number, client in enumerate(self.sites, 31)})
        self.notes: list[str] = []
        self.contexts: list[Context] = []
        self.replies: list[RecordDict] = []

    def node(self, client: str) -> Node:
        """A node that passes every message to the site's ClientApp with the node's configuration."""

        def answers(message: Message) -> Answers:
            site = str(self.sites[client] / "site.yaml")
            context = Context(1, message.metadata.dst_node_id, {"site": site}, RecordDict(), {"run": "demo"})
            self.contexts.append(context)
            reply = app(message, context).content
            self.replies.append(reply)
            return [(1.0, reply)]

        return Node(answers, answers)

    def run(self) -> list[Row]:
        engine = flower_engine(self.grid, self.notes.append, self.grid.clock)
        return self.remote.run(engine=engine)

    def tensors(self) -> dict[str, bytes]:
        """The coordinator's models and the sites' private states, under the names of a local run."""
        found = bits(self.remote.folder)
        for client, folder in self.sites.items():
            for name, value in bits(folder / "private").items():
                found[f"clients/{client}/{name.partition('/')[2]}"] = value
        return found


@pytest.fixture
def federation(tmp_path: Path) -> Callable[..., Federation]:
    """Returns a function that creates a federation with the given settings."""
    return lambda *overrides: Federation(tmp_path, *overrides)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of a complete deployment, written once per module; tests work on copies."""
    folder = tmp_path_factory.mktemp("deployment")
    Deployment.make(folder)
    return folder


@pytest.fixture
def deployment(tmp_path: Path, prepared: Path) -> Deployment:
    return Deployment.copy_of(prepared, tmp_path)


@pytest.fixture
def server(deployment: Deployment) -> Iterator[Server]:
    """An HTTPS server in place of the deployment's proxy, which the site's configuration names."""
    with serving(deployment.coordinator.folder, deployment.coordinator.tls) as made:
        edit(deployment.site_file, server=made.address)
        yield made


@dataclass
class Machine:
    """This machine as the checks see it.

    ``free``: bytes on every disk. ``writable``: whether folders are. ``nginx``: its path. ``served``: file of the
    certificate that nginx serves. ``asked``: folders whose free space was asked for.
    """

    free: int = 10**12
    writable: bool = True
    nginx: str | None = "/usr/sbin/nginx"
    served: Path | None = None
    asked: list[Path] = field(default_factory=list)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()

    def disk_usage(path: Path) -> SimpleNamespace:
        made.asked.append(path)
        return SimpleNamespace(free=made.free)

    def get_server_certificate(address: tuple[str, int], timeout: float) -> str:
        if made.served is None:
            raise ConnectionRefusedError(111, "Connection refused")
        return made.served.read_text("ascii")

    monkeypatch.setattr(ssl, "get_server_certificate", get_server_certificate)
    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    monkeypatch.setattr(shutil, "which", lambda name, **_: made.nginx)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK or made.writable)
    return made


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    return new_coordinator(tmp_path / "coordinator")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A site's public key; the private one is beside it."""
    save_key(tmp_path / "site.key", make_node_key())
    return tmp_path / "site.key.pub"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A coordinator service whose SuperLink has started."""
    with socket.create_server(("127.0.0.1", 0)) as superlink:
        port = superlink.getsockname()[1]
        coordinator = Coordinator.init(tmp_path / "coordinator", ["localhost"], "test", 1, port)
        control = RecordingControl(tmp_path / "flower")
        logged: list[str] = []
        service = CoordinatorService(coordinator, logged.append, control=control, clock=lambda: made.now)
        made = Bench(service, coordinator, control, logged=logged)
        made.restart_superlink()
        made.poll()
        yield made


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    return authority_in(tmp_path / "tls").parent


@pytest.fixture
def public_server(tmp_path: Path, tls: Path) -> Iterator[Server]:
    publish(FACES, tmp_path / "proxy")
    with serving(tmp_path / "proxy", tls) as made:
        yield made


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return tmp_path / "proxy" / "public" / FINGERPRINT


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "a site" / "public"
