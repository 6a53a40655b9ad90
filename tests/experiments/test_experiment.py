"""Runs from Python: files of a run, and equal results after interruptions."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.tiny_experiment import BACKBONE, bits, tiny_config, tiny_faces

import fedfr
from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, write_json
from fedfr.core.operating_system import machine
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.run_start import note_machine
from fedfr.models import BACKBONES, load_model
from fedfr.reporting.progress import Silent
from fedfr.results.result_rows import Row

Finished = tuple[Experiment, list[Row]]
MORE = ("baselines=[local]", "pretrain.epochs=2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("experiment")
    experiment = fedfr.Experiment.create(tiny_config(folder, *MORE), folder / "run")
    return experiment, experiment.run()


def test_files_of_a_finished_run(finished: Finished) -> None:
    run = finished[0].folder
    expected = [
        "config.yaml",
        "environment.json",
        "split.json",
        "metrics.jsonl",
        "generic.safetensors",
        "pretrained/generic.safetensors",
        "rounds/0000/round.json",
        "rounds/0001/generic.safetensors",
        "rounds/0002/generic.safetensors",
        "rounds/0002/round.json",
        "clients/client-01/private-000002.safetensors",
        "clients/client-02/personal.safetensors",
        "evaluation/pretrained.json",
        "evaluation/fedfr.json",
        "evaluation/local.json",
        "baselines/local/clients/client-01/personal.safetensors",
    ]
    assert [name for name in expected if not (run / name).is_file()] == []
    assert not (run / "rounds" / "0000" / "generic.safetensors").exists(), "only the newest two models are kept"
    assert not list(run.rglob("*.tmp"))


def test_every_event_is_one_line(finished: Finished) -> None:
    lines = (finished[0].folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    kinds = [(event["event"], event.get("epoch", event.get("round")), event.get("client")) for event in events]
    assert kinds == [("pretrain", 1, None), ("pretrain", 2, None)] + [
        (kind, number, client)
        for number in (1, 2)
        for kind, client in (("update", "client-01"), ("update", "client-02"), ("round", None))
    ]
    assert all(math.isfinite(event["loss/total"]) and event["learning_rate"] > 0 for event in events[:2])
    assert all(
        event["peak_rss_bytes"] > 1e7 and event["seconds"] > 0 < event["cpu_seconds"]
        for event in events
        if event["event"] == "update"
    )


def test_rows_keep_every_client_and_the_counts(finished: Finished) -> None:
    experiment, rows = finished
    assert experiment.results() == rows
    assert Experiment.open(experiment.folder).run() == rows
    for model in ("pretrained", "generic", "personalized", "local"):
        clients = {row.client for row in rows if row.model == model and row.protocol.startswith("personalized")}
        assert clients == {"client-01", "client-02"}
    assert all((row.value is None) == bool(row.refused) for row in rows)
    assert all(row.value is None or (0 <= row.value <= 1 and row.genuine > 0) for row in rows)
    assert all(row.impostor >= 10 for row in rows if row.value is not None and row.metric != "rank-1")


def test_models_carry_their_contract(finished: Finished) -> None:
    run = finished[0].folder
    spaces = set()
    for name, role in (
        ("pretrained/generic", "pretrained"),
        ("generic", "generic"),
        ("clients/client-01/personal", "personalized"),
        ("clients/client-02/personal", "personalized"),
    ):
        _, contract = load_model(run / f"{name}.safetensors")
        assert (contract.backbone, contract.role) == (BACKBONE, role)
        assert contract.preprocessing == BACKBONES[BACKBONE].preprocessing
        spaces.add(contract.embedding_space)
    assert len(spaces) == 4, "features of different models are not comparable"


def test_an_exported_personal_model_is_the_one_that_was_evaluated(
    finished: Finished,
) -> None:
    experiment, _ = finished
    method_run = experiment.method_runs()[0]
    found = method_run.personal_module("client-01")
    assert found is not None
    tensors, _ = load_model(experiment.folder / "clients" / "client-01" / "personal.safetensors")
    assert all(torch.equal(value, tensors[name]) for name, value in found[1].tensors().items())


def test_fedfr_evaluate_knows_runs_and_models(finished: Finished, tmp_path: Path) -> None:
    experiment, rows = finished
    assert fedfr.evaluate(experiment.folder) == rows
    tiny_faces(5, 4, seed=9).save(tmp_path / "others")
    others = fedfr.evaluate(
        experiment.folder / "generic.safetensors", faces=tmp_path / "others", protocols=["generic-1:1"]
    )
    assert {(row.genuine, row.impostor) for row in others} == {(5 * 6, 190 - 30)}


def test_public_names_are_exported() -> None:
    missing = [name for name in fedfr.__all__ if not hasattr(fedfr, name)]
    assert missing == []
    assert {"FaceSet", "Split", "Experiment", "evaluate", "list_methods"} <= set(dir(fedfr))


def events(run: Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl without times and memory."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    varying = {"time", "seconds", "cpu_seconds", "feature_seconds", "feature_seconds_alone", "peak_rss_bytes"}
    return [{key: value for key, value in json.loads(line).items() if key not in varying} for line in lines]


class Listening(Silent):
    """Records the details of pre-training."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, int, str]] = []

    def update(self, work: str, done: int, total: int, detail: str = "", unit: str = "") -> None:
        """Count down, except in evaluations, which restart as a whole and would never finish."""
        if work == "pre-training":
            self.heard.append((done, total, detail))


def test_progress_of_pretraining_shows_the_loss(tmp_path: Path) -> None:
    listening = Listening()
    run = Experiment.create(tiny_config(tmp_path, "pretrain.epochs=2"), tmp_path / "run")
    run.pretrain(listening)
    losses = [f"loss {event['loss/total']:.3f}" for event in events(run.folder)]
    assert listening.heard == [
        (1, 4, "epoch 1"),
        (2, 4, f"epoch 1, {losses[0]}"),
        (3, 4, f"epoch 2, {losses[0]}"),
        (4, 4, f"epoch 2, {losses[1]}"),
    ]


def test_begin_refuses_another_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = tiny_config(Path(), "runtime.workers=2")
    assert Experiment.begin(config, "run").config == config
    same = tiny_config(tmp_path, "method.dfc.weight=10.0")
    assert Experiment.begin(same, "run").config == config, "the default, said aloud; workers change no result"
    for override, message in (
        ("seed=5", "run was begun with seed = 0, not 5; continue it with `fedfr resume run` or choose another folder"),
        ("method.dfc.weight=3", "run was begun with method.dfc.weight = 10.0, not 3.0; continue"),
        ("method.name=fedavg", "run was begun with method.name = 'fedfr', not 'fedavg'; continue"),
        ("split.settings.max_images=4", "run was begun with split.settings.max_images = None, not 4; continue"),
        ("evaluation.fars=[0.01]", "run was begun with evaluation.fars = [0.1], not [0.01]; continue"),
    ):
        with pytest.raises(FedfrError) as caught:
            Experiment.begin(tiny_config(tmp_path, override), "run")
        assert str(caught.value).startswith(message)


class InterruptionError(Exception):
    """Simulated Ctrl-C."""


class Interrupting(Silent):
    """Progress that raises at the n-th call."""

    def __init__(self, after: int) -> None:
        self.left = after

    def update(self, work: str, done: int, total: int, detail: str = "", unit: str = "") -> None:
        """Count down; evaluations restart as a whole, so interrupting each would never finish."""
        if work.startswith("evaluating"):
            return
        self.left -= 1
        if self.left == 0:
            raise InterruptionError

    def note(self, text: str) -> None:
        """Count down."""
        self.update("", 0, 0)


@pytest.mark.slow
def test_no_interruption_changes_the_result(finished: Finished, tmp_path: Path) -> None:
    expected, rows = bits(finished[0].folder), finished[1]
    told = events(finished[0].folder)
    generator = random.Random(11)
    Experiment.create(tiny_config(tmp_path, *MORE), tmp_path / "run")
    interruptions = 0
    while True:
        try:
            found = Experiment.open(tmp_path / "run").run(Interrupting(generator.randrange(1, 5)))
            break
        except InterruptionError:
            interruptions += 1
    assert interruptions >= 3
    assert found == rows
    assert bits(tmp_path / "run") == expected
    assert events(tmp_path / "run") == told, "every event once, with the same values"


def test_one_training_image_per_identity(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "split.settings.test_count=3", "federation.rounds=1")
    experiment = Experiment.create(config, tmp_path / "run")
    split = experiment.components.split
    config_of_one = tiny_config(tmp_path, "split.settings.max_images=4", "split.settings.test_count=3")
    one = Experiment.create(config_of_one, tmp_path / "one")
    assert [len(client.train) for client in one.components.split.clients.values()] == [3, 3]
    rows = one.run()
    assert any(row.model == "personalized" and row.value is not None for row in rows)
    assert len(split.clients["client-01"].train) == 6


def test_identities_are_in_one_part_only(finished: Finished) -> None:
    components = finished[0].components
    labels = components.faces.labels
    split = components.split
    groups = [set(labels[np.asarray(split.public)]), set(labels[np.asarray(split.generic)])]
    groups += [set(labels[client.all()]) for client in split.clients.values()]
    assert sum(map(len, groups)) == len(set().union(*groups))
    for client in split.clients.values():
        assert not set(client.train) & set(client.test)


def test_machines_that_work_on_a_run_are_recorded(tmp_path: Path) -> None:
    """One that continues it is added; a run from before they were recorded says so."""
    run = Experiment.create(tiny_config(tmp_path, "method.name=fedavg", "federation.rounds=1"), tmp_path / "run")
    assert run.machines() == [machine()]
    path = run.folder / "environment.json"
    environment = read_json(path)
    for before in (["another, 2 cores"], None):
        kept = {name: value for name, value in environment.items() if name != "machines"}
        write_json(path, kept if before is None else {**kept, "machines": before})
        note_machine(run.components, clients_elsewhere=False)
        assert run.machines() == [*(before or ["not recorded"]), machine()]
    note_machine(run.components, clients_elsewhere=True)
    assert run.machines() == ["not recorded", machine(), "machines of the clients"]
    recorded = path.read_bytes()
    note_machine(run.components, clients_elsewhere=True)
    assert path.read_bytes() == recorded
