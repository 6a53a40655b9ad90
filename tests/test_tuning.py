"""Search of settings in a fixed number of trials, and its record."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fedfr import Experiment
from fedfr.config.schema import parse_overrides
from fedfr.core.errors import FedfrError
from fedfr.experiments.benchmark_plan import Plan, plan_benchmark
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


@pytest.fixture(scope="module")
def search(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("setting_search")


def searched(search: ModuleType, axes: Any, score: Callable[..., float], trials: int) -> dict[Any, float]:
    """Carry a search out; return the scores in the order of the trials."""
    done: dict[Any, float] = {}
    while points := search.proposals(axes, done, trials):
        for point in points:
            assert point not in done
            done[point] = score(*(axis.value(position) for axis, position in zip(axes, point, strict=True)))
    return done


def test_a_best_rate_inside_has_two_neighbours_and_the_rest_refines(search: ModuleType) -> None:
    rate = search.Axis("rate", 0.005, factor=2)
    done = searched(search, [rate], lambda value: -abs(value - 0.007), 7)
    assert [rate.value(position) for (position,) in done] == [
        0.0025,
        0.005,
        0.01,
        0.003536,
        0.007071,
        0.005946,
        0.008409,
    ]
    assert search.best(done) == (0.5,)
    assert search.open_ends([rate], done) == {}


def test_a_best_rate_at_the_edge_widens_the_grid(search: ModuleType) -> None:
    rate = search.Axis("rate", 0.005, factor=2)
    done = searched(search, [rate], lambda value: -value, 5)
    assert [rate.value(position) for (position,) in done] == [0.0025, 0.005, 0.01, 0.00125, 0.000625]
    assert search.open_ends([rate], done) == {"rate": "at the edge"}
    assert search.open_ends([rate], searched(search, [rate], lambda value: -abs(value - 0.02), 6)) == {}


def test_own_settings_are_searched_at_the_best_rate(search: ModuleType) -> None:
    axes = [
        search.Axis("rate", 0.005, factor=2),
        search.Axis("mu", 0.01, factor=10),
        search.Axis("share", 0.5, step=0.25),
    ]
    done = searched(search, axes, lambda rate, mu, share: -abs(rate - 0.005) - abs(mu - 0.1), 7)
    tried = [tuple(axis.value(position) for axis, position in zip(axes, point, strict=True)) for point in done]
    assert tried[3:] == [(0.005, 0.001, 0.5), (0.005, 0.1, 0.5), (0.005, 1.0, 0.5), (0.005, 0.1, 0.25)]
    assert search.open_ends(axes, done) == {"share": "at the edge"}
    few = dict(list(done.items())[:4])
    assert search.open_ends(axes, few) == {"mu": "at the edge", "share": "not searched"}


def test_equal_trials_choose_the_smaller_rate_and_divergence_is_the_worst(search: ModuleType) -> None:
    assert search.best({(0.0,): 0.5, (-1.0,): 0.5, (1.0,): 0.5 + 1e-12}) == (-1.0,)
    rate = search.Axis("rate", 0.005, factor=2)
    done = searched(search, [rate], lambda value: float("-inf") if value > 0.004 else 1.0, 5)
    assert search.best(done) == (-3.0,)


def test_limits_bracket(search: ModuleType) -> None:
    share = search.Axis("share", 0.5, step=0.25, low=0.05, high=0.95)
    done = searched(search, [share], lambda value: value, 9)
    assert max(share.value(position) for (position,) in done) <= 0.95
    assert search.open_ends([share], done) == {}


@given(st.lists(st.floats(0, 1), min_size=40, max_size=40), st.integers(1, 12), st.data())
def test_an_interrupted_search_makes_the_same_trials(
    search: ModuleType, scores: list[float], trials: int, data: Any
) -> None:
    """Also when the trials of a step finish in any order, and only some of them before the interruption."""
    axes = [search.Axis("rate", 0.005, factor=2), search.Axis("mu", 0.01, factor=10)]

    def score(*values: float) -> float:
        return scores[hash(values) % len(scores)]

    whole = searched(search, axes, score, trials)
    assert len(whole) == trials
    done: dict[Any, float] = {}
    while points := search.proposals(axes, done, trials):
        point = data.draw(st.sampled_from(points))
        done[point] = score(*(axis.value(position) for axis, position in zip(axes, point, strict=True)))
    assert done == whole
    assert all(axes[0].position(axes[0].value(position)) == position for position, _ in whole)


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
    assert metrics == {"generic-1:1 TAR@FAR=1e-4": 0.8, "personalized-1:1 TAR@FAR=1e-3": 0.6}
    assert records.Trial("fedavg", 1, {}, metrics, 1.0).score == pytest.approx(0.7)
    assert records.Trial("fedavg", 1, {}, {}, 1.0).score is None


def test_the_record_is_read_as_it_was_written(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    records = load("trial_records")
    made = [
        records.Trial("pretrained", 1, {"pretrain.learning_rate": 0.01}, {"m": 0.4}, 0.0),
        records.Trial("distill", 1, {"share": 0.25}, {"m": 0.4}, 2.5),
        records.Trial("fedavg", 1, {"local.learning_rate": 0.005}, {"m": 0.4}, 2.5),
        records.Trial("fedavg", 2, {"local.learning_rate": 0.0025}, {"m": 0.4}, 2.5),
        records.Trial("fedavg", 3, {"local.learning_rate": 0.01}, {}, 2.5),
        records.Trial("fedfr", 1, {"local.learning_rate": 0.01, "hard_negatives.threshold": 0.3}, {"m": 0.4}, 2.5),
    ]
    records.write_trials(tmp_path / "trials.csv", made)
    assert sorted(records.read_trials(tmp_path / "trials.csv"), key=made.index) == made
    found = records.tuned(made)
    assert "pretrained" not in found, "tuned_start has its settings"
    rate = {"local": {"learning_rate": 0.0025}}
    assert (found["fedavg"], found["finetune"], found["distill"]) == (rate, rate, {**rate, "share": 0.25})
    assert found["fedfr-hn"] == {"local": {"learning_rate": 0.01}, "hard_negatives": {"threshold": 0.3}}
    (tmp_path / "trials.csv").write_text("method,trial\nfedavg,x\n", encoding="utf-8")
    with pytest.raises(FedfrError, match="is not a record of trials"):
        records.read_trials(tmp_path / "trials.csv")
    assert records.read_trials(tmp_path / "none.csv") == []


@pytest.mark.parametrize("name", [entry.name for entry in METHODS if entry.name in METHODS.builtin])
def test_every_axis_is_a_setting_of_its_method(load: Callable[[str], ModuleType], name: str) -> None:
    """At the centre and one step to each side."""
    axes, tree = load("tuned_methods").axes_of(name, 0.005), load("trial_records").settings_tree
    for axis in axes:
        default = METHODS[name]({}).settings.model_dump()
        for position in (-1, 0, 1):
            settings = tree({axis.name: axis.value(position)})
            if axis.name.startswith(("local.", "pretrain.")):
                continue
            METHODS[name](settings)
            if position == 0:
                for part in axis.name.split("."):
                    default = default[part]
                assert default == axis.value(0), axis.name


def test_a_benchmark_runs_every_method_as_its_best_trial(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """Also variants of the main method, which have its settings where their own are not stated."""
    tune, records = load("tune"), load("trial_records")
    names = [name for name in METHODS.builtin if METHODS[name]({}).rounds(1)]
    plan = plan_benchmark("orl", scenario="tuning", methods=names)
    tuning = tune.Tuning(plan, tmp_path, trials=1, rate=0.005)
    for number, name in enumerate(names):
        point = tuple(1.0 if axis.allows(1.0) else 0.0 for axis in tuning.axes(name))
        if point:
            values = tuning.values(name, (number % 3 - 1.0, *point[1:]))
            tuning.records.append(records.Trial(name, 1, values, {"m": 0.5}, 1.0))
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
    first.begin()
    settings, folder = {"local": {"learning_rate": 0.005}}, first.run_folder("fedavg", (-1.0,))
    Experiment.begin(first.config("fedavg", settings), folder, shared_faces=tmp_path / "out" / "faces").run()
    seconds = Experiment.open(folder).costs()["fedavg"][0].wall_seconds
    first.run(["fedavg"], 1)
    (trial,) = first.records
    assert trial.seconds == pytest.approx(seconds, abs=0.01), "not trained again"
    assert trial.settings == {"local.learning_rate": 0.005}
    assert set(trial.metrics) == {f"{name}-1:1 TAR@FAR=1e-1" for name in ("generic", "personalized")}
    assert not folder.exists()
    assert "fedavg 1/1: local.learning_rate=0.005: " in capsys.readouterr().out
    again = tune.Tuning(plan, tmp_path / "out", trials=1, rate=0.01)
    again.begin()
    assert again.due("fedavg") == []
    assert "not searched" in tune.summary(again, ["fedavg"], 80)
    other = plan.model_copy(update={"settings": {**more, "federation": {"rounds": 2}}})
    with pytest.raises(FedfrError, match=r"was begun with settings.federation.rounds = 1, not 2"):
        tune.Tuning(other, tmp_path / "out", trials=2, rate=0.01).begin()


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
    tuning.begin()
    tuning.run(["pretrained"], 1)
    assert len({trial.settings["pretrain.learning_rate"] for trial in tuning.records}) == 2
    weights = {
        (run / "pretrained" / "generic.safetensors").read_bytes() for run in (tmp_path / "out/pretrained").iterdir()
    }
    assert len(weights) == 2
