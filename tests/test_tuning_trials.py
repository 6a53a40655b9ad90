"""Trials of the tuning: how each is judged, run, recorded and used."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from fedfr import Experiment
from fedfr.config.schema import parse_overrides
from fedfr.core.errors import FedfrError
from fedfr.experiments.benchmark_plan import Cell, Plan, plan_benchmark
from fedfr.experiments.from_config import local_training, make_method
from fedfr.methods import METHODS
from fedfr.results.result_rows import Row
from tests.support.tiny_experiment import SETTINGS, tiny_faces

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def load() -> Any:
    """Return a function that imports a module of benchmarks/."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(FOLDER))
        yield importlib.import_module


def rows(method: str, generic: float, own: tuple[float, float]) -> list[Row]:
    """Generic 1:1 of the generic model, personalized 1:1 of both models at two clients each."""
    found = [Row(method, 0, 1, "", "generic", "generic-1:1", "TAR@FAR=1e-4", generic, 20, 20)]
    for client in "ab":
        for model, value in zip(("generic", "personalized"), own, strict=True):
            found.append(Row(method, 0, 1, client, model, "personalized-1:1", "TAR@FAR=1e-3", value, 20, 20))
            found.append(Row(method, 0, 1, client, model, "personalized-1:1", "TAR@FAR=1e-1", 0.0, 20, 20))
    return found


def test_a_trial_is_judged_by_the_better_model_at_the_strictest_rate(load: Callable[[str], ModuleType]) -> None:
    records = load("trial_records")
    metrics = records.metrics_of(rows("fedavg", 0.8, (0.6, 0.4)), "fedavg")
    own = {"generic": 0.6, "personalized": 0.4}
    assert metrics == {"generic-1:1 TAR@FAR=1e-4": {"generic": 0.8}, "personalized-1:1 TAR@FAR=1e-3": own}
    assert records.Trial("fedavg", 1, {}, metrics, 1.0).score == pytest.approx(0.7)
    assert records.Trial("fedavg", 1, {}, {}, 1.0).score is None


@pytest.mark.parametrize(("method", "setting"), [("ditto", "lam"), ("distill", "share"), ("distill-fedfr", "share")])
def test_settings_of_the_personalized_model_are_chosen_by_it(
    load: Callable[[str], ModuleType], tmp_path: Path, method: str, setting: str
) -> None:
    """The better generic model is the same in all trials and hides nothing."""
    records, tuned = load("trial_records"), load("tuned_methods")
    axes = tuned.axes_of(method, 0.005)
    made = []
    for number, (step, value) in enumerate([(-1.0, 0.5), (0.0, 0.6), (1.0, 0.55)]):
        point = tuple(step if axis.name == setting else 0.0 for axis in axes)
        metrics = records.metrics_of(rows(method, 0.8, (0.9, value)), method)
        settings = {axis.name: axis.value(position) for axis, position in zip(axes, point, strict=True)}
        made.append(records.Trial(method, number, settings, metrics, 1.0, point))
    records.write_trials(tmp_path / "trials.csv", made)
    again = records.read_trials(tmp_path / "trials.csv")
    assert records.chosen(again)[method] == made[1]
    assert made[1].score == pytest.approx((0.8 + 0.6) / 2)
    equal = [dataclasses.replace(trial, metrics=made[0].metrics) for trial in made]
    assert records.chosen(equal)[method].settings == made[1].settings, "the default, not the smallest"


def test_a_benchmark_runs_every_method_as_its_best_trial(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """Also variants of the main method, which have its settings where their own are not stated."""
    records = load("trial_records")
    names = [name for name in METHODS.builtin if METHODS[name]({}).rounds(1)]
    plan = plan_benchmark("orl", scenario="tuning", methods=names)
    tuning = load("tuning").Tuning(plan, tmp_path, trials=1, rate=0.005)
    for number, name in enumerate(names):
        point = tuple(1.0 if axis.allows(1.0) else 0.0 for axis in tuning.axes(name))
        if point:
            values = tuning.values(name, (number % 3 - 1.0, *point[1:]))
            tuning.records.append(records.Trial(name, 1, values, {"m": {name: 0.5}}, 1.0))
    chosen, cell = records.tuned(tuning.records), plan.cells["validation"]
    assert set(chosen) == set(names)
    tuned = cell.model_copy(update={"methods": chosen})
    benchmark = plan.model_copy(update={"cells": {"validation": tuned}}).experiment(0)
    assert benchmark.method.name == "fedfr"
    for name in names:
        trial = tuning.config(name, chosen[name])
        assert make_method(benchmark, name).settings == make_method(trial, name).settings, name
        assert local_training(benchmark, name) == local_training(trial, name), name


def test_trials_are_runs_that_are_recorded_and_not_repeated(
    load: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run whose process ended before it was recorded is only read; the record stands in for a deleted run."""
    tune = load("tune")
    tiny_faces().save(tmp_path / "faces")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(parse_overrides(SETTINGS)), encoding="utf-8")
    more = {"faces": {"path": str(tmp_path / "faces")}, "federation": {"rounds": 1}}
    plan = Plan(
        name="tiny", config=str(tmp_path / "tiny.yaml"), budget="cpu", methods=("fedavg",), seeds=(0,), settings=more
    )
    first = tune.Tuning(plan, tmp_path / "out", trials=1, rate=0.01, remove_runs=True)
    first.begin(["fedavg"])
    settings, folder = {"local": {"learning_rate": 0.005}}, first.run_folder("fedavg", (-1.0,))
    Experiment.begin(first.config("fedavg", settings), folder, shared_faces=tmp_path / "out" / "faces").run()
    seconds = Experiment.open(folder).costs()["fedavg"][0].wall_seconds
    shutil.copytree(folder, tmp_path / "copy")
    first.run(["fedavg"], 1)
    (trial,) = first.records
    assert trial.seconds == pytest.approx(seconds, abs=0.01), "not trained again"
    assert trial.settings == {"local.learning_rate": 0.005}
    assert trial.steps == (-1.0,)
    assert {name: set(models) for name, models in trial.metrics.items()} == {
        "generic-1:1 TAR@FAR=1e-1": {"generic"},
        "personalized-1:1 TAR@FAR=1e-1": {"generic", "personalized"},
    }
    assert not folder.exists()
    assert "fedavg 1/1: local.learning_rate=0.005: " in capsys.readouterr().out
    again = tune.Tuning(plan, tmp_path / "out", trials=1, rate=0.01)
    again.begin(["fedavg"])
    assert again.due("fedavg") == []
    assert "not searched" in tune.summary(again, ["fedavg"], 80)
    # The same run, had a client failed in it: judged on the others it would compare different people.
    record = tmp_path / "copy" / "rounds" / "0001" / "round.json"
    content = json.loads(record.read_text(encoding="utf-8")) | {"refused": ["client-01 failed in round 1: NaN"]}
    record.write_text(json.dumps(content), encoding="utf-8")
    shutil.copytree(tmp_path / "copy", again.run_folder("fedavg", (1.0,)))
    assert again.record("fedavg", (1.0,), None).score is None
    assert again.done("fedavg")[1.0,] == float("-inf")
    other = plan.model_copy(update={"settings": {**more, "federation": {"rounds": 2}}})
    with pytest.raises(FedfrError, match=r"was begun with settings.federation.rounds = 1, not 2"):
        tune.Tuning(other, tmp_path / "out", trials=2, rate=0.01).begin(["fedavg"])


def test_other_methods_begin_from_the_start_that_the_trials_chose(
    load: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    """The definition may change after the trials of the starting model, in the same folder, but not after others."""
    tune, records = load("tune"), load("trial_records")
    tiny_faces().save(tmp_path / "faces")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(parse_overrides(SETTINGS)), encoding="utf-8")

    def tuning(**start: float) -> Any:
        cell = Cell(settings={"pretrain": start})
        more = {"faces": {"path": str(tmp_path / "faces")}, "federation": {"rounds": 1}}
        config, cells = str(tmp_path / "tiny.yaml"), {"validation": cell}
        plan = Plan(
            name="tiny", config=config, budget="cpu", methods=("fedavg",), seeds=(0,), settings=more, cells=cells
        )
        return tune.Tuning(plan, tmp_path / "out", trials=1, rate=0.01)

    first = tuning(learning_rate=0.005, epochs=3)
    first.begin(["pretrained"])
    assert not (tmp_path / "out" / "start").exists(), "no trial of a starting model begins there"
    best = {"pretrain.learning_rate": 0.01, "pretrain.epochs": 1}
    first.records = [records.Trial("pretrained", 1, best, {"m": {"pretrained": 0.5}}, 1.0, (1.0, -2.0))]
    records.write_trials(first.path, first.records)
    with pytest.raises(FedfrError, match=r"write learning_rate: 0.01, epochs: 1 to tuned_start in .* of tiny, then"):
        tuning(learning_rate=0.005, epochs=3).begin(["fedavg"])
    second = tuning(learning_rate=0.01, epochs=1)
    second.begin(["fedavg"])
    pretrain = Experiment.open(tmp_path / "out" / "start").config.pretrain
    assert (pretrain.learning_rate, pretrain.epochs) == (0.01, 1)
    second.records.append(records.Trial("fedavg", 1, {"local.learning_rate": 0.01}, {"m": {"generic": 0.5}}, 1.0))
    records.write_trials(second.path, second.records)
    with pytest.raises(FedfrError, match=r"was begun with cells.validation.settings.pretrain.epochs = 1, not 2"):
        tuning(learning_rate=0.01, epochs=2).begin(["fedavg"])


def test_the_starting_model_is_searched_first_where_there_is_one(
    load: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    tune = load("tune")

    def tuning(start: str) -> Any:
        plan = plan_benchmark("lfw-fed", scenario="tuning", settings={"model": {"start": start}})
        return tune.Tuning(plan, tmp_path, trials=8, rate=0.005)

    methods = tune.searched(tuning("net.ckpt"), None)
    assert methods[0] == "pretrained"
    assert methods.index("fedfr") < methods.index("distill-fedfr")
    assert "pretrained" not in tune.searched(tuning("scratch"), None)
    assert tune.searched(tuning("net.ckpt"), ["distill"]) == ["fedavg", "distill"]
    with pytest.raises(FedfrError, match="--methods pretrained: only a checkpoint is tuned; give --start FILE"):
        tune.searched(tuning("scratch"), ["pretrained"])
    with pytest.raises(FedfrError, match="--methods published: it has no training and so nothing to choose"):
        tune.searched(tuning("net.ckpt"), ["published"])


def test_a_record_without_the_start_of_its_trials_is_not_kept(
    load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune, records = load("tune"), load("trial_records")
    monkeypatch.setattr(tune, "HERE", tmp_path / "benchmarks")
    settings = {"model": {"start": "net.ckpt"}, "pretrain": {"epochs": 3}}
    plan = plan_benchmark("orl", scenario="tuning", settings=settings)
    tuning = tune.Tuning(plan, tmp_path, trials=1, rate=0.005)
    tuning.records = [records.Trial("fedavg", 1, {"local.learning_rate": 0.005}, {"m": {"generic": 0.5}}, 1.0)]
    with pytest.raises(FedfrError, match=r"trials\.csv has no trials of pretrained, from which all others begin"):
        tune.keep(tuning, "orl/tuning/checkpoint", "python benchmarks/tune.py")
    start = {"pretrain.learning_rate": 0.005, "pretrain.epochs": 3}
    tuning.records.append(records.Trial("pretrained", 1, start, {"m": {"pretrained": 0.5}}, 1.0))
    records.write_trials(tuning.path, tuning.records)
    assert (tune.keep(tuning, "orl/tuning/checkpoint", "python benchmarks/tune.py") / "trials.csv").is_file()


@pytest.mark.slow
def test_trials_of_the_starting_model_train_it_again(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    tune = load("tune")
    tiny_faces().save(tmp_path / "faces")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(parse_overrides(SETTINGS)), encoding="utf-8")
    more = {"faces": {"path": str(tmp_path / "faces")}}
    plan = Plan(
        name="tiny", config=str(tmp_path / "tiny.yaml"), budget="cpu", methods=("fedavg",), seeds=(0,), settings=more
    )
    tuning = tune.Tuning(plan, tmp_path / "out", trials=2, rate=0.01)
    tuning.begin(["pretrained"])
    tuning.run(["pretrained"], 1)
    assert len({trial.settings["pretrain.learning_rate"] for trial in tuning.records}) == 2
    weights = {
        (run / "pretrained" / "generic.safetensors").read_bytes() for run in (tmp_path / "out/pretrained").iterdir()
    }
    assert len(weights) == 2
