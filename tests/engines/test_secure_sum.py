"""Runs whose server receives sums only: the same model up to rounding, the same bits after interruptions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.tiny_experiment import bits, tiny_config

from fedfr.config.schema import ExperimentConfig
from fedfr.core.errors import FedfrError
from fedfr.engines.local_secure_sum import LocalSumEngine, local_agreement
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.method_run import local_engine
from fedfr.federation.messages import Failure, Update
from fedfr.federation.method import GenericModel

SUM = ("federation.secure=sum", "federation.largest_count=200")


def config_of(folder: Path, *more: str) -> ExperimentConfig:
    folder.mkdir(exist_ok=True)
    return tiny_config(folder, "split.settings.clients=3", *more)


def final(run: Path) -> dict[str, bytes]:
    """The models of the last round."""
    return {name: value for name, value in bits(run).items() if "0002" in name}


@pytest.fixture(scope="module")
def summed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with secure sums."""
    folder = tmp_path_factory.mktemp("summed")
    Experiment.create(config_of(folder, *SUM), folder / "run").run()
    return folder / "run"


def models(run: Path, number: int = 2) -> GenericModel:
    experiment = Experiment.open(run)
    return experiment.method_runs()[0].journal.read(number).generic


def test_the_model_is_that_of_the_plain_average(summed: Path, tmp_path: Path) -> None:
    """Up to the rounding of the ring; BatchNorm's counters stay at the clients."""
    Experiment.create(config_of(tmp_path / "plain"), tmp_path / "plain" / "run").run()
    found, before, expected = models(summed), models(summed, 1), models(tmp_path / "plain" / "run")
    assert found.weights.keys() == expected.weights.keys()
    for name, value in expected.weights.items():
        if value.dtype.is_floating_point:
            assert torch.allclose(found.weights[name], value, rtol=1e-4, atol=1e-5), name
        else:
            assert torch.equal(found.weights[name], before.weights[name]), name
    assert torch.allclose(found.prototypes, expected.prototypes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("workers", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_an_interrupted_run_has_the_same_bits(summed: Path, tmp_path: Path, workers: int) -> None:
    """Interrupted in the middle of every stage of a round and resumed, also with four workers; all masks are others."""
    folder = tmp_path / "sum"
    experiment = Experiment.create(config_of(folder, *SUM), folder / "run")
    start = experiment.pretrain()
    run = experiment.method_runs()[0]
    # Each stage has six messages: the second message of the next stage is the last.
    for _ in range(5):
        count = 0

        def tap(direction: str, client: str, data: bytes) -> None:
            nonlocal count
            count += b"request" in data[:400] or b"reply" in data[:400]
            if count == 8:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run.run(start, engine=partial(local_engine, tap=tap))
    resumed = Experiment.open(folder / "run", workers=workers)
    resumed.run()
    assert final(folder / "run").keys() == final(summed).keys()
    assert [name for name, value in final(folder / "run").items() if final(summed)[name] != value] == []


def test_a_lost_round_is_skipped(tmp_path: Path) -> None:
    """It leaves the model as it is; after two in succession the run stops, and resumes with the next round."""
    folder = tmp_path / "sum"
    experiment = Experiment.create(config_of(folder, *SUM, "federation.rounds=3"), folder / "run")
    start, run = experiment.pretrain(), experiment.method_runs()[0]
    key = run.folder / "clients" / run.participants[-1] / "secure-sum" / "identity.key"

    def tap(direction: str, client: str, data: bytes) -> None:
        if b"share request" in data[:400]:
            key.chmod(0o644)  # The client refuses to use it.

    with pytest.raises(
        FedfrError, match=r"2 rounds in succession were lost, and the model is that of round 0; .*round 3"
    ):
        run.run(start, engine=partial(local_engine, tap=tap))
    key.chmod(0o600)
    assert not list(run.folder.rglob("secure-sum/update*"))
    run.run(start)
    records = run.journal.records()
    assert [("lost" in record, record["totals"]["clients"]) for record in records[1:]] == [(True, 0)] * 2 + [(False, 3)]
    assert records[1]["lost"].startswith("the secure sum of round 1 is lost: 2 sites replied to stage share, and 3 are")
    assert len(records[1]["refused"]) == 3
    assert f"{key} is readable" not in str(records)
    models = {number: run.journal.read(number).generic for number in (2, 3)}
    moved = [name for name, value in models[2].weights.items() if not torch.equal(value, start.weights[name])]
    assert moved == []
    assert not torch.equal(models[3].prototypes, start.prototypes)


def test_clipping_at_the_clients_is_that_at_the_server(tmp_path: Path) -> None:
    """The model of `norm-clipped` with the same norm, up to rounding; every change is longer than the norm."""
    settings = ("federation.batchnorm=local", "federation.prototypes=share")
    clipped = ("federation.aggregation=norm-clipped", "federation.clip_norm=0.02")
    found = {}
    for name, more in (("plain", clipped), ("sum", (*SUM, *clipped)), ("mean", SUM)):
        Experiment.create(config_of(tmp_path / name, *settings, *more), tmp_path / name / "run").run()
        found[name] = models(tmp_path / name / "run")
    before = models(tmp_path / "sum" / "run", 1)
    for name, value in found["plain"].weights.items():
        assert torch.allclose(found["sum"].weights[name], value, rtol=1e-5, atol=1e-7), name
    assert torch.allclose(found["sum"].prototypes, found["plain"].prototypes, rtol=1e-5, atol=1e-7)

    def moved(model: GenericModel) -> float:
        changes = [(value - before.weights[name]).double().norm() for name, value in model.weights.items()]
        return math.hypot(*map(float, changes), float((model.prototypes - before.prototypes).norm()))

    assert moved(found["sum"]) <= 0.02 * 1.001
    assert moved(found["mean"]) > 0.1


def test_replies_come_in_the_order_of_the_average(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the first client drops out: no mean waits on the server's disk for a client that failed."""
    four = ("split.settings.clients=4", "split.settings.identities_per_client=2", "federation.rounds=1")
    experiment = Experiment.create(config_of(tmp_path, *SUM, *four), tmp_path / "run")
    start, run, order = experiment.pretrain(), experiment.method_runs()[0], list[tuple[str, type]]()
    key = run.folder / "clients" / run.participants[0] / "secure-sum" / "identity.key"

    def tap(direction: str, client: str, data: bytes) -> None:
        if b"share request" in data[:400]:
            key.chmod(0o644)  # The client refuses to use it.

    exchange = LocalSumEngine.exchange

    def recorded(self: LocalSumEngine, *given: Any) -> Iterator[Update | Failure]:
        for reply in exchange(self, *given):
            order.append((reply.client, type(reply)))
            yield reply

    monkeypatch.setattr(LocalSumEngine, "exchange", recorded)
    run.run(start, engine=partial(local_engine, tap=tap))
    assert order == [(run.participants[0], Failure), *((client, Update) for client in run.participants[1:])]


def test_clients_that_change_have_another_agreement(tmp_path: Path) -> None:
    """With the same keys; records of the former one are not in their way."""
    four, again = (local_agreement(tmp_path, ["a", "b", "c", "d"], 3) for _ in range(2))
    three = local_agreement(tmp_path, ["a", "b", "c"], 3)
    assert (four, four.digest) == (again, again.digest)
    assert three.run != four.run
    assert three.sites == {name: four.sites[name] for name in three.sites}


def test_a_run_with_sums_does_not_return_to_an_earlier_round(summed: Path) -> None:
    with pytest.raises(FedfrError, match="cannot return to an earlier round"):
        Experiment.open(summed).rewind(1)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (("split.settings.clients=2",), "2 of 2 clients take part in a round, and a sum needs 3"),
        (("federation.updates=int8",), "federation.updates = int8, but sums of integers of 32 bits need full"),
        (("federation.aggregation=median",), "federation.aggregation = median needs each client's update"),
        (
            ("federation.aggregation=norm-clipped",),
            "clips to the median of the clients' norms, which nobody knows; set",
        ),
        (("federation.largest_count=10000000",), "makes the steps of the sum too coarse"),
        (("deployment.report=all",), "deployment.report = all lets each site send its own losses or counts"),
        (("deployment.report=losses",), "deployment.report = losses lets each site send its own losses or counts"),
        (("method.name=fedface",), "the method sends each client's private prototypes"),
        (("federation.participation=0.5",), "2 of 3 clients take part in a round, and a sum needs 3"),
        (("federation.secure_threshold=1",), "federation.secure_threshold"),
        (("federation.secure_threshold=4",), "and a sum needs 4"),
        (
            ("split.settings.clients=4", "split.settings.identities_per_client=2", "federation.secure_threshold=2"),
            "the threshold of a secure sum is 2; it must be 3 to 4, the sites: with fewer than 3, a server that devi",
        ),
    ],
)
def test_settings_that_are_refused_before_the_run(tmp_path: Path, settings: tuple[str, ...], reason: str) -> None:
    with pytest.raises(FedfrError, match=reason):
        Experiment.create(config_of(tmp_path, *SUM, *settings), tmp_path / "run").run()
    assert not (tmp_path / "run" / "config.yaml").exists()
