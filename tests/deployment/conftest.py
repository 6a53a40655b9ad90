"""A federation's folders, made of a tiny experiment, and a grid whose nodes are its sites' own apps in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict
from tests.support.grid import Answers, FakeGrid, Node
from tests.support.tiny_experiment import bits, tiny_config

from fedfr.config.schema import load_config
from fedfr.deployment.client_app import app
from fedfr.deployment.partition_export import export_partitions
from fedfr.deployment.server_app import flower_engine
from fedfr.experiments.experiment import Experiment
from fedfr.results.result_rows import Row


class Federation:
    """``local``: the experiment on one machine. ``sites``: by client id, its folder."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.folder = folder
        self.local = Experiment.create(tiny_config(folder, *overrides), folder / "local")
        clients = export_partitions(self.local.components, folder / "federation", "remote")
        self.sites = {client: folder / "federation" / "sites" / client for client in clients}
        config = load_config(folder / "federation" / "coordinator" / "config.yaml", ["deployment.join=5"])
        self.remote = Experiment.create(config, folder / "remote")
        self.grid = FakeGrid({number: self.node(client) for number, client in enumerate(self.sites, 31)})
        self.notes: list[str] = []
        self.contexts: list[Context] = []

    def node(self, client: str) -> Node:
        """A SuperNode as far as we see it: every message goes to the site's app with the node's configuration."""

        def answers(message: Message) -> Answers:
            site = str(self.sites[client] / "site.yaml")
            context = Context(1, message.metadata.dst_node_id, {"site": site}, RecordDict(), {"run": "demo"})
            self.contexts.append(context)
            return [(1.0, app(message, context).content)]

        return Node(answers, answers)

    def run(self) -> list[Row]:
        engine = flower_engine(self.grid, self.notes.append, self.grid.clock)
        return self.remote.run(engine=engine)

    def tensors(self) -> dict[str, bytes]:
        """The coordinator's models and the sites' private states, named as in a local run."""
        found = bits(self.remote.folder)
        for client, folder in self.sites.items():
            for name, value in bits(folder / "private").items():
                found[f"clients/{client}/{name.partition('/')[2]}"] = value
        return found


@pytest.fixture
def federation(tmp_path: Path) -> Callable[..., Federation]:
    """Makes one with the settings given."""
    return lambda *overrides: Federation(tmp_path, *overrides)
