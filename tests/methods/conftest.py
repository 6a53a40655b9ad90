"""Finished runs of methods on one tiny experiment, each computed once."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.tiny_experiment import tiny_config

from fedfr.experiments.client_factory import ClientFactory
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.method_run import MethodRun, local_engine
from fedfr.federation.messages import Broadcast, Update, decode_broadcast, decode_update
from fedfr.federation.method import GenericModel
from fedfr.federation.private_state import PrivateState


class Finished:
    """A method's run: updates, final generic model, and private states."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.experiment = Experiment.create(tiny_config(folder, *overrides), folder / "run")
        name = self.experiment.config.method.name
        self.method_run = MethodRun(self.experiment.components, name, folder / "run")
        self.start = self.experiment.pretrain()
        self.ups: list[Update] = []
        self.downs: list[tuple[str, Broadcast]] = []
        self.generic: GenericModel = self.method_run.run(self.start, engine=partial(local_engine, tap=self._see))

    def _see(self, direction: str, client: str, data: bytes) -> None:
        if direction == "up":
            self.ups.append(decode_update(data))
        else:
            self.downs.append((client, decode_broadcast(data)))

    def state(self, client: str) -> PrivateState:
        """The newest private state."""
        found = self.method_run.store(client).latest()
        assert found is not None
        return found

    def client_factory(self) -> ClientFactory:
        """Makes the clients of the run."""
        components, folder = self.experiment.components, self.method_run.folder
        return ClientFactory(
            components.config,
            self.method_run.name,
            components.faces_folder,
            components.folder / "split.json",
            folder / "clients",
        )

    def events(self) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl."""
        path = self.method_run.folder / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that computes a run once for each list of overrides."""
    made: dict[tuple[str, ...], Finished] = {}

    def get(*overrides: str) -> Finished:
        if overrides not in made:
            made[overrides] = Finished(tmp_path_factory.mktemp("method"), *overrides)
        return made[overrides]

    return get
