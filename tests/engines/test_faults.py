"""Faults of one client in the local engine: refused in that round, no effect on others, accepted in the next."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.support.tiny_experiment import tiny_config

from fedfr.core.errors import WriteError
from fedfr.engines.local import LocalEngine
from fedfr.experiments.client_factory import ClientFactory
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.method_run import MethodRun
from fedfr.experiments.report import open_report
from fedfr.federation.client import Client
from fedfr.federation.messages import Broadcast, Failure, Update, encode
from fedfr.reporting.benchmark_table import results_text
from fedfr.reporting.page import page
from fedfr.reporting.table import missing_values

QUIET = Failure("client-01", "it stopped; its own log says why")
SECRET = "/home/site/faces/person-03/0.png"
LAST_STEP = 1e300
# No pre-training, and all faces in one batch: the first step of a round is its last.
QUICK = ("pretrain.epochs=0", "local.batch_size=64")


class Faulty:
    """The inner factory's clients in one process; ``fault`` is applied to client-01, once per number."""

    def __init__(self, inner: ClientFactory, fault: Callable[[Client], None], rounds: range = range(1, 99)) -> None:
        self.inner, self.fault, self.rounds, self.asked = inner, fault, rounds, 0

    def __call__(self, client: str) -> Client:
        """Return a new client for every round."""
        made = self.inner(client)
        if client == "client-01":
            self.asked += 1
            if self.asked in self.rounds:
                self.fault(made)
        return made


def diverges(client: Client) -> None:
    """Let the only step end in values beyond the range of a file; its loss is finite."""
    client.settings = replace(
        client.settings, local=client.settings.local.model_copy(update={"learning_rate": LAST_STEP})
    )


class Raises:
    """A fault that raises in any process."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, client: Client) -> None:
        """Never returns."""
        raise self.error


def faulty(
    experiment: Experiment, fault: Callable[[Client], None], rounds: range
) -> Callable[[MethodRun], LocalEngine]:
    """Folder of the clients of the method run."""

    def engine(method_run: MethodRun) -> LocalEngine:
        components = method_run.components
        inner = ClientFactory(
            components.config,
            method_run.name,
            components.faces_folder,
            components.folder / "split.json",
            method_run.folder / "clients",
        )
        return LocalEngine(Faulty(inner, fault, rounds))

    return engine


def shown(experiment: Experiment) -> str:
    """Return all output about the results."""
    rows = experiment.results()
    return "\n".join([results_text(rows), *missing_values(rows), page(open_report(experiment.folder))])


@pytest.mark.parametrize(
    "name", ["fedfr", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ditto", "local"))]
)
def test_a_client_that_diverged_trains_in_the_next_round(tmp_path: Path, name: str) -> None:
    experiment = Experiment.create(tiny_config(tmp_path, f"method.name={name}", *QUICK), tmp_path / "run")
    experiment.run(engine=faulty(experiment, diverges, range(1, 2)))
    first, second = (
        json.loads(path.read_text()) for path in sorted((tmp_path / "run/rounds").glob("*/round.json"))[1:]
    )
    assert [report["client"] for report in first["clients"]] == ["client-02"]
    assert len(first["refused"]) == 1
    assert "client-01 failed in round 1: " in first["refused"][0]
    assert "became NaN or infinite in epoch 1; lower the learning rate (now 1e+300)" in first["refused"][0]
    assert [report["client"] for report in second["clients"]] == ["client-01", "client-02"]
    state = experiment.method_runs()[0].store("client-01").latest()
    assert state is not None
    assert all(value.isfinite().all() for value in state.tensors().values())
    assert "no model" not in shown(experiment)


@pytest.mark.parametrize(("name", "model"), [("fedfr", "fedfr personalized"), ("local", "local")])
def test_a_run_names_the_clients_that_have_no_model(tmp_path: Path, name: str, model: str) -> None:
    settings = (f"method.name={name}", *QUICK, "federation.rounds=1", "evaluation.every=1")
    experiment = Experiment.create(tiny_config(tmp_path, *settings), tmp_path / "run")
    rows = experiment.run(engine=faulty(experiment, diverges, range(1, 99)))
    without = [row for row in rows if row.lacks_model]
    assert {(row.method, row.client, row.value, row.refused) for row in without} == {
        (name, "client-01", None, "no model: the client delivered in no round")
    }
    other = [row for row in rows if row.model == without[0].model and row.client == "client-02"]
    counted = {(row.protocol, row.metric) for row in other if not row.refused}
    assert {(row.protocol, row.metric) for row in without} == counted, "one for each figure that the other has"
    assert f"no {model} model of client-01: the client delivered in no round" in shown(experiment)
    assert json.loads((experiment.folder / "evaluation" / f"{name}.json").read_text()) == [
        row.to_dict() for row in rows if row.method == name
    ]


def test_a_run_without_any_model_is_reported(tmp_path: Path) -> None:
    """All private states are lost before the evaluation."""
    experiment = Experiment.create(
        tiny_config(tmp_path, "method.name=local", *QUICK, "federation.rounds=1"), tmp_path / "run"
    )
    experiment.run()
    for state in (tmp_path / "run/clients").glob("*/private-*"):
        state.unlink()
    told = results_text(experiment.evaluate())
    assert "no local model of client-01, client-02: it is not on this machine" in told


def test_a_client_that_diverged_changes_no_other(tmp_path: Path) -> None:
    """FedRep trains head and body in turn; the next client in the process trains all of both."""
    experiment = Experiment.create(
        tiny_config(tmp_path, "method.name=fedrep", "local.epochs=2", *QUICK), tmp_path / "run"
    )
    start, components = experiment.pretrain(), experiment.components
    broadcast = Broadcast(1, start.weights, start.prototypes)
    answers = []
    for asked in (["client-01", "client-02"], ["client-02"]):
        clients = tmp_path / f"clients-{len(asked)}"
        inner = ClientFactory(
            components.config, "fedrep", components.faces_folder, components.folder / "split.json", clients
        )
        with LocalEngine(Faulty(inner, diverges)) as engine:
            answers.append({reply.client: reply for reply in engine.exchange(broadcast, asked)})
    assert isinstance(answers[0]["client-01"], Failure)
    beside, alone = (answer["client-02"] for answer in answers)
    assert isinstance(beside, Update)
    assert isinstance(alone, Update)
    assert [name for name, value in alone.weights.items() if not torch.equal(value, beside.weights[name])] == []


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[ClientFactory, Broadcast]:
    folder = tmp_path_factory.mktemp("faults")
    experiment = Experiment.create(tiny_config(folder, *QUICK), folder / "run")
    start, components = experiment.pretrain(), experiment.components
    factory = ClientFactory(
        components.config, "fedfr", components.faces_folder, folder / "run" / "split.json", folder / "clients"
    )
    return factory, Broadcast(1, start.weights, start.prototypes)


ERRORS = [
    torch.OutOfMemoryError(f"CUDA out of memory while reading {SECRET}"),
    RuntimeError(SECRET),
    KeyError(SECRET),
    MemoryError(SECRET),
    OSError(5, "Input/output error", SECRET),
    type("LibraryError", (Exception,), {})(SECRET),
    # As libraries written in Rust raise it.
    type("PanicException", (BaseException,), {})(SECRET),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_any_exception_is_a_failure_of_its_client(
    made: tuple[ClientFactory, Broadcast], caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    factory, broadcast = made
    sent: list[bytes] = []
    with LocalEngine(Faulty(factory, Raises(error)), tap=lambda way, client, data: sent.append(data)) as engine:
        replies = list(engine.exchange(broadcast, ["client-01"]))
    assert replies == [QUIET]
    assert sent[1] == encode(QUIET), "and nothing of the text travels"
    assert f"client-01 stopped: {type(error).__name__}: {error}" in caplog.text
    assert "Traceback (most recent call last)" in caplog.text


class RaisesInTurn:
    """A fault that raises the errors one after another, in whichever process; ``folder`` counts them."""

    def __init__(self, folder: Path, *errors: BaseException) -> None:
        self.folder, self.errors = folder, errors

    def __call__(self, client: Client) -> None:
        """Never returns."""
        number = len(list(self.folder.iterdir()))
        (self.folder / str(number)).touch()
        raise self.errors[number]


def test_any_exception_in_a_worker_is_a_failure_of_its_client(
    made: tuple[ClientFactory, Broadcast], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    factory, broadcast = made
    in_turn = RaisesInTurn(tmp_path, ERRORS[0], SystemExit(3))
    with LocalEngine(Faulty(factory, in_turn), workers=2) as engine:
        for told in (f"OutOfMemoryError: CUDA out of memory while reading {SECRET}", "SystemExit: 3"):
            replies = {reply.client: reply for reply in engine.exchange(broadcast, ["client-01", "client-02"])}
            assert replies["client-01"] == QUIET
            assert isinstance(replies["client-02"], Update)
            assert f"client-01 stopped: {told}" in capfd.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), WriteError("the disk is full")])
def test_other_errors_are_raised(made: tuple[ClientFactory, Broadcast], error: BaseException) -> None:
    factory, broadcast = made
    before = threading.active_count()
    with LocalEngine(Faulty(factory, Raises(error))) as engine, pytest.raises(type(error)):
        list(engine.exchange(broadcast, ["client-01", "client-02"]))
    assert threading.active_count() == before
