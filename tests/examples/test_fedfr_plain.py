"""Plain example and library on the same problem: equal losses at every step, equal final states."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.tiny_experiment import tiny_config, tiny_faces
from torch import nn

from fedfr.core.registry import Entry
from fedfr.core.rng import torch_generator
from fedfr.engines.local import LocalEngine
from fedfr.experiments.from_config import make_compute
from fedfr.federation.client import Client, ClientSettings
from fedfr.federation.journal import Journal
from fedfr.federation.method import GenericModel
from fedfr.federation.private_store import PrivateStore
from fedfr.federation.public_faces import PublicFaces
from fedfr.federation.server import Server
from fedfr.methods.fedfr import FedFR
from fedfr.models import build_backbone, load_weights
from fedfr.models.backbone_registry import BACKBONES
from fedfr.models.spec import BackboneSpec
from fedfr.training.loop import TrainingPlan

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "fedfr_plain.py"
CLIENTS = ("client-01", "client-02")
ROUNDS, EPOCHS, BATCH, RATE = 3, 4, 6, 0.01
# Measured: losses agree to 1.5e-5, end states to 2e-6.
LOSSES, END = 1e-4, 1e-5
FACES = tiny_faces(10, 4)
PUBLIC = FACES.subset(np.flatnonzero(FACES.labels >= 6))
PRIVATE = {
    client: FACES.subset(np.flatnonzero((FACES.labels >= 3 * number) & (FACES.labels < 3 * number + 3)))
    for number, client in enumerate(CLIENTS)
}
PROTOTYPES = 0.5 * torch.randn(4, 32, generator=torch.Generator().manual_seed(4))


class Smooth(nn.Module):
    """A small network with BatchNorm and no kinks.

    ReLU networks on few images amplify the last bit by a factor of ten a step, whoever computes them: two correct
    programs then part after ten steps, and a comparison at 1e-4 would say nothing about either.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 8, stride=8)
        self.bn = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8 * 14 * 14, 32)

    def forward(self, images: torch.Tensor) -> Any:
        return self.fc(torch.tanh(self.bn(self.conv(images))).flatten(1))


@pytest.fixture(scope="module", autouse=True)
def smooth_backbone() -> Iterator[None]:
    """The library finds the small network by name, as any backbone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES._entries, "smooth", Entry("smooth", BackboneSpec(Smooth, 32), "for this test"))
        yield


class Recorded(Client):
    """A client that writes down the losses of every step."""

    history: list[list[float]]

    def _plan(self, round_number: int) -> TrainingPlan:
        def on_step(epoch: int, step: int, steps: int, losses: Mapping[str, torch.Tensor]) -> None:
            names = ("margin_softmax", "one_vs_all", "contrastive", "total")
            self.history.append([float(losses[name]) for name in names])

        return replace(super()._plan(round_number), on_step=on_step)


def inputs(faces: Any) -> torch.Tensor:
    images = torch.from_numpy(faces.images(np.arange(len(faces))))
    return (images.permute(0, 3, 1, 2).float() - 127.5) / 127.5


@pytest.fixture(scope="module")
def plain() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fedfr_plain", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fedfr_plain"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def threshold(plain: Any) -> float:
    """Between two similarities of the first round that lie well apart, so that rounding moves no face across it."""
    backbone = build_backbone("smooth", 0)
    similarity = torch.nn.functional.normalize(plain.features(backbone, inputs(PUBLIC)))
    nearest = torch.stack(
        [
            (similarity @ torch.nn.functional.normalize(plain.features(backbone, inputs(own))).T).amax(1)
            for own in PRIVATE.values()
        ]
    )
    values = nearest.flatten().sort().values
    gaps = values.diff()[8:-8]
    place = int(gaps.argmax()) + 8
    return float((values[place] + values[place + 1]) / 2)


@pytest.fixture(scope="module")
def plainly(plain: Any, threshold: float) -> tuple[Any, torch.Tensor, list[Any], list[int]]:
    """Generic backbone, public prototypes, clients, n_i of every update, by the plain version."""
    plain.TAU_HN = threshold
    generic, prototypes = build_backbone("smooth", 0), PROTOTYPES.clone()
    public = (inputs(PUBLIC), torch.from_numpy(PUBLIC.labels.copy()).long())
    clients = [plain.PlainClient(inputs(own), torch.from_numpy(own.labels.copy()).long()) for own in PRIVATE.values()]
    seen = []
    for number in range(1, ROUNDS + 1):
        returned = []
        for name, client in zip(CLIENTS, clients, strict=True):
            generators = [torch_generator(0, "local", number, name, epoch) for epoch in range(EPOCHS)]
            returned.append(plain.local_update(client, generic, prototypes, public, EPOCHS, RATE, BATCH, generators))
        states, public_prototypes, counts = (list(part) for part in zip(*returned, strict=True))
        seen += counts
        generic.load_state_dict(plain.average(states, counts))
        prototypes = plain.average([{"phi": phi} for phi in public_prototypes], counts)["phi"]
    return generic, prototypes, clients, seen


@pytest.fixture(scope="module")
def really(threshold: float, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Compute the same with the library: server, engine, messages, clients, stores, average, journal."""
    folder = tmp_path_factory.mktemp("real")
    chosen = {
        "local.epochs": EPOCHS,
        "local.batch_size": BATCH,
        "local.learning_rate": RATE,
        "federation.rounds": ROUNDS,
    }
    config = tiny_config(folder, *(f"{name}={value}" for name, value in chosen.items()))
    settings = ClientSettings("smooth", 2, 0, config.local, config.federation, make_compute(config))
    method, public = FedFR({"hard_negatives": {"threshold": threshold}}), PublicFaces(PUBLIC)
    clients = {
        name: Recorded(name, own, public, method, settings, PrivateStore(folder / name, name))
        for name, own in PRIVATE.items()
    }
    for client in clients.values():
        client.history = []
    start = GenericModel(build_backbone("smooth", 0).state_dict(), PROTOTYPES.clone())
    journal = Journal(folder / "rounds")
    with LocalEngine(clients.__getitem__) as engine:
        every = frozenset(start.weights)
        server = Server(method, engine, journal, config.federation, CLIENTS, lambda number: every, seed=0)
        server.run(start)
    # The end as the journal has it: what a resumed run would go on from.
    end = journal.read(ROUNDS).generic
    generic = build_backbone("smooth", 0)
    load_weights(generic, end.weights)
    seen = [report["count"] for record in journal.records()[1:] for report in record["clients"]]
    return generic, end.prototypes, list(clients.values()), seen


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(torch.linalg.norm((found - expected).double()) / torch.linalg.norm(expected.double()))


def test_some_public_faces_are_hard_negatives(plainly: Any, really: Any) -> None:
    assert plainly[3] == really[3]
    assert all(12 < count < 28 for count in plainly[3][:2])


def test_every_loss_of_every_step(plainly: Any, really: Any) -> None:
    for plain_client, client in zip(plainly[2], really[2], strict=True):
        expected = np.array(plain_client.history)
        assert len(expected) >= ROUNDS * EPOCHS * 2
        np.testing.assert_allclose(np.array(client.history), expected, rtol=LOSSES)


def test_generic_backbone(plainly: Any, really: Any) -> None:
    expected = plainly[0].state_dict()
    for name, value in really[0].state_dict().items():
        if value.is_floating_point():
            assert difference(value, expected[name]) < END, name
        else:
            assert torch.equal(value, expected[name]), name


def test_public_prototypes(plainly: Any, really: Any) -> None:
    assert not torch.allclose(plainly[1], PROTOTYPES)
    assert difference(really[1], plainly[1]) < END


def test_what_clients_keep(plainly: Any, really: Any) -> None:
    for plain_client, client in zip(plainly[2], really[2], strict=True):
        state = client.store.latest()
        assert difference(state.prototypes, plain_client.prototypes) < END
        for name, value in (
            ("transform.weight", plain_client.transform.weight),
            ("transform.bias", plain_client.transform.bias),
            ("branches.weight", plain_client.branches.weight),
            ("branches.bias", plain_client.branches.bias),
        ):
            assert difference(state.dfc[name], value.detach()) < END, name
        for name, value in plain_client.previous.state_dict().items():
            if value.is_floating_point():
                assert difference(state.backbone[name], value) < END, name


def test_it_runs_as_a_script() -> None:
    done = subprocess.run([sys.executable, str(EXAMPLE)], capture_output=True, text=True, check=True)
    rounds = [line for line in done.stdout.splitlines() if line.startswith("round ")]
    losses = [float(line.split("[")[1].split(",")[0]) for line in rounds]
    assert len(losses) == 2
    assert losses[1] < losses[0]
