"""A client of a tiny federation."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.tiny_client import (
    PRIVATE,
    PUBLIC,
    MakeClient,
)
from tests.support.tiny_experiment import tiny_config

from fedfr.config.schema import ExperimentConfig
from fedfr.experiments.from_config import make_compute
from fedfr.faces import FaceSet
from fedfr.federation.client import Client, ClientSettings
from fedfr.federation.private_store import PrivateStore
from fedfr.federation.public_faces import PublicFaces
from fedfr.methods import METHODS


@pytest.fixture
def make_client(tmp_path: Path) -> MakeClient:
    def make(*overrides: str, private: FaceSet = PRIVATE, name: str = "client-01") -> Client:
        config: ExperimentConfig = tiny_config(tmp_path, *overrides)
        return Client(
            name,
            private,
            PublicFaces(PUBLIC),
            METHODS[config.method.name](config.method.settings),
            ClientSettings(config.model.backbone, 2, 0, config.local, config.federation, make_compute(config)),
            PrivateStore(tmp_path / "clients" / name, name),
        )

    return make
