"""Plans of benchmarks: definitions of the package and choices of the user."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.support.tiny_experiment import BACKBONE, tiny_config

from fedfr.config.loading import BENCHMARKS, read_benchmark
from fedfr.config.schema import ExperimentConfig
from fedfr.core.errors import FedfrError
from fedfr.experiments.benchmark_plan import Cell, Plan, plan_benchmark
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.from_config import local_training, make_compute
from fedfr.federation.local_plan import local_plan
from fedfr.federation.round_context import ClientSettings
from fedfr.models import BACKBONES, Contract, build_backbone, save_model
from fedfr.results.primary_family import Primary
from fedfr.training.loop import Moment

START = Moment(0, 0.0, 0)


def scenarios(name: str) -> list[str]:
    return list(read_benchmark(name)["scenarios"])


def test_settings_override_the_budgets_one_by_one() -> None:
    plan = plan_benchmark("lfw-fed", settings={"local": {"learning_rate": 0.5}})
    local = plan.experiment(0).local
    assert (local.learning_rate, local.epochs, local.batch_size) == (0.5, 2, 16)


@pytest.mark.parametrize("name", ["lfw-fed", "pins-fed"])
def test_primary_comparisons_are_declared_with_the_plan(name: str) -> None:
    """They do not depend on the methods that are chosen; scenarios declare none."""
    plan = plan_benchmark(name, methods=["local", "fedfr"])
    assert plan.primary == Primary(
        method="fedfr",
        against=("local-fedfr", "frozen-head", "fedavg", "fedavg-public", "pretrained"),
        protocols=("generic-1:1", "personalized-1:1"),
    )
    assert plan_benchmark(name, scenario="prototypes").primary is None


def test_user_settings_override_cells_and_cells_override_budgets() -> None:
    def rates(**given: object) -> list[float]:
        plan = plan_benchmark("orl", scenario="participation", settings=given)
        return [plan.experiment(0, cell).federation.participation for cell in plan.cells]

    assert rates() == [0.25, 0.5, 1.0]
    assert rates(federation={"participation": 0.3}) == [0.3] * 3


def test_settings_of_a_method_apply_as_main_method_and_as_baseline() -> None:
    given = {"baseline_settings": {"fedavg": {"local": {"epochs": 3}}, "fedfr": {"dfc": {"weight": 2.0}}}}
    plan = plan_benchmark("orl", methods=["fedavg", "fedfr", "local"], settings=given)
    config = plan.experiment(0)
    assert config.method.name == "fedfr"
    assert config.method.settings["dfc"] == {"weight": 2.0}
    assert config.method.settings["hard_negatives"] == {"threshold": 0.6}, "the preset's stay"
    assert local_training(config, "fedavg").epochs == 3
    alone = plan_benchmark("orl", methods=["fedavg", "local"], settings=given).experiment(0)
    assert (alone.method.name, local_training(alone, "fedavg").epochs) == ("fedavg", 3)


def test_tuned_settings_belong_to_a_method_and_can_be_changed() -> None:
    cell = Cell(methods={"fedavg": {"local": {"learning_rate": 0.7}}, "moon": {"local": {"learning_rate": 0.6}}})
    plan = Plan(
        name="x", config="quickstart", budget="cpu", methods=("fedavg", "fedfr"), seeds=(0,), cells={"scratch": cell}
    )
    assert local_training(plan.experiment(0), "fedavg").learning_rate == 0.7
    assert "moon" not in plan.experiment(0).baseline_settings
    changed = cell.model_copy(update={"settings": {"baseline_settings": {"fedavg": {"local": {"learning_rate": 0.1}}}}})
    plan = plan.model_copy(update={"cells": {"scratch": changed}})
    assert local_training(plan.experiment(0), "fedavg").learning_rate == 0.1


def test_a_checkpoint_to_start_from(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "method.name=pretrained")
    first = Experiment.create(config, tmp_path / "run")
    first.pretrain()
    checkpoint = tmp_path / "my face model.safetensors"
    shutil.copy(tmp_path / "run" / "pretrained" / "generic.safetensors", checkpoint)
    plan = plan_benchmark("lfw-fed", starts=["scratch", str(checkpoint), f"published:{checkpoint}"])
    assert list(plan.cells) == ["scratch", "my-face-model-tuned", "my-face-model-published"]
    scratch, tuned, published = (plan.experiment(0, cell) for cell in plan.cells)
    assert (scratch.model.start, scratch.pretrain.epochs) == ("scratch", 20)
    for started in (tuned, published):
        assert (started.model.start, started.model.backbone) == (str(checkpoint), BACKBONE)
    assert published.pretrain.epochs == 0
    wanted = read_benchmark("lfw-fed")["tuned_start"]
    assert tuned.pretrain.model_dump(include=set(wanted)) == wanted
    assert (tuned.pretrain.prototypes, tuned.pretrain.batchnorm) == ("mean", "frozen")
    # Without a checkpoint there is none to evaluate as it is.
    assert set(tuned.baselines) - set(scratch.baselines) == {"published"}
    plan = plan_benchmark("lfw-fed", starts=["scratch", str(checkpoint)], methods=["published", "local"])
    configs = [plan.experiment(0, cell) for cell in plan.cells]
    assert [(config.method.name, config.baselines) for config in configs] == [("local", ()), ("local", ("published",))]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 3}, "--set seed=3: the benchmark chooses this setting; use --seeds instead"),
        (
            {"split": {"settings": {"seed": 3}}},
            "--set split.settings.seed=3: the benchmark chooses this setting; use --seeds instead",
        ),
        (
            {"method": {"name": "moon"}},
            "--set method.name=moon: the benchmark chooses this setting; use --methods instead",
        ),
        (
            {"baselines": ["local"]},
            "--set baselines=['local']: the benchmark chooses this setting; use --methods instead",
        ),
        ({"baseline_settings": {"fedproxx": {"mu": 1}}}, "unknown method 'fedproxx'; did you mean 'fedprox'?"),
        ({"baseline_settings": {"fedfr": 3}}, "--set baseline_settings.fedfr=3: give settings by name"),
        ({"split": {"settings": None}}, "split.settings = None: give settings by name"),
        *(
            ({name: value}, f"orl: {name} = {value!r}: give")
            for name in ("split", "local", "baseline_settings", "method", "evaluation")
            for value in (3, None)
        ),
    ],
)
def test_settings_chosen_by_the_benchmark_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(FedfrError) as caught:
        plan_benchmark("orl", settings=settings)
    assert message in str(caught.value)


def test_user_settings_override_tuned_ones() -> None:
    definition = {**read_benchmark("orl"), "tuned": {"scratch": {"fedavg": {"local": {"learning_rate": 0.7}}}}}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fedfr.experiments.benchmark_plan.read_benchmark", lambda name: definition)
        tuned = plan_benchmark("orl", settings={"local": {"epochs": 9}})
        set_by_hand = plan_benchmark("orl", settings={"local": {"learning_rate": 0.1}})
        untouched = plan_benchmark("lfw-fed", scenario="identities")
    assert local_training(tuned.experiment(0), "fedavg").learning_rate == 0.7
    assert local_training(tuned.experiment(0), "fedavg").epochs == 9
    assert local_training(set_by_hand.experiment(0), "fedavg").learning_rate == 0.1
    assert untouched.cells["identities-1"].methods["fedavg"]["local"] == {"learning_rate": 0.7}


def test_methods_without_tuned_settings_are_named() -> None:
    """Also in scenarios; a network that is only evaluated has nothing to tune."""
    tuned = {"scratch": {"fedavg": {"local": {"learning_rate": 0.7}}, "local": {}}}
    definition = {**read_benchmark("orl"), "tuned": tuned}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fedfr.experiments.benchmark_plan.read_benchmark", lambda name: definition)
        some = plan_benchmark("orl", methods=["published", "fedavg", "moon", "local", "fedfr"])
        unequal = plan_benchmark("orl", scenario="unequal")
        assert plan_benchmark("orl", methods=["published", "fedavg", "local"]).untuned() == []
    assert some.untuned() == ["settings of moon, fedfr are not tuned (scratch)"]
    assert unequal.untuned() == ["settings of fedface, fedfr are not tuned (equal, unequal)"]
    none = plan_benchmark("orl", scenario="tuning", methods=["fedavg", "fedfr"])
    assert none.untuned() == ["settings of no method are tuned (validation)"]


def test_a_sweep_for_tuning_has_no_tuned_settings() -> None:
    definition = {**read_benchmark("lfw-fed"), "tuned": {"scratch": {"fedavg": {"local": {"learning_rate": 0.7}}}}}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fedfr.experiments.benchmark_plan.read_benchmark", lambda name: definition)
        assert not any(cell.methods for cell in plan_benchmark("lfw-fed", scenario="tuning").cells.values())


@pytest.mark.parametrize(
    ("stem", "cell"),
    [
        ("faces", "faces-published"),
        ("report.html", "report.html-published"),
        ("model+v2 é", "model-v2-published"),
        ("plain_1", "plain_1-published"),
    ],
)
def test_names_of_cells_from_checkpoints(stem: str, cell: str, tmp_path: Path) -> None:
    path = tmp_path / f"{stem}.safetensors"
    backbone = build_backbone(BACKBONE, 0)
    contract = Contract(BACKBONE, 512, BACKBONES[BACKBONE].preprocessing, "0", "generic")
    save_model(path, dict(backbone.state_dict()), contract)
    assert list(plan_benchmark("orl", starts=[f"published:{path}"]).cells) == [cell]


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("budget", ["cpu", "full"])
def test_plans_of_the_package_are_valid(name: str, budget: str) -> None:
    plan = plan_benchmark(name, budget=budget, methods=["fedfr", "fedavg"], seeds=2)
    config = plan.experiment(1)
    assert (config.seed, config.method.name, config.baselines) == (1, "fedfr", ("fedavg",))
    everything = plan_benchmark(name, budget=budget)
    everything.experiment(0)


@pytest.mark.parametrize(("name", "scenario"), [(name, each) for name in BENCHMARKS for each in scenarios(name)])
def test_scenarios_of_the_package_are_valid(name: str, scenario: str) -> None:
    plan = plan_benchmark(name, scenario=scenario)
    for cell in plan.cells:
        config = plan.experiment(0, cell)
        settings = config.split.settings
        sizes = settings.get("identities_per_client", 1)
        assert not isinstance(sizes, list) or len(sizes) == settings.get("clients", 10)
    assert len({plan.experiment(0, cell).model_dump_json() for cell in plan.cells}) == len(plan.cells)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"name": "lfw"}, "unknown benchmark 'lfw'; known: orl, lfw-fed, pins-fed, paper"),
        ({"budget": "gpu"}, "unknown budget 'gpu'; known: cpu, full"),
        ({"methods": ["fedprx"]}, "unknown method 'fedprx'; did you mean 'fedprox'?"),
        ({"scenario": "size"}, "benchmark orl has no scenario 'size'; known: identities, unequal, participation"),
        (
            {"scenario": "unequal", "starts": ["scratch", "scratch"]},
            "two starting points have the same name; give each once, or rename a checkpoint",
        ),
        ({"name": "lfw-fed", "starts": ["/none.ckpt"]}, "/none.ckpt"),
        ({"starts": ["published:/none.ckpt"]}, "/none.ckpt"),
        (
            {"name": "paper", "starts": ["net.ckpt"]},
            "for tuning a checkpoint on the public images; give --start published:net.ckpt to begin with it as it is",
        ),
        ({"starts": ["published:"]}, "--start 'published:' names no checkpoint; give scratch, FILE or published:FILE"),
        (
            {"name": "lfw-fed", "seeds": 6},
            "benchmark lfw-fed has 5 deals of different people, not 6; give --seeds 5 or fewer",
        ),
        ({"name": "pins-fed", "seeds": 7, "budget": "full"}, "benchmark pins-fed has 5 deals of different people"),
        (
            {"name": "lfw-fed", "settings": {"split": {"settings": {"deals": 2}}}},
            "benchmark lfw-fed has 2 deals of different people, not 5; give --seeds 2 or fewer",
        ),
    ],
)
def test_invalid_plans_are_refused(mistake: dict[str, object], message: str) -> None:
    with pytest.raises(FedfrError) as caught:
        plan_benchmark(**{"name": "orl", **mistake})  # type: ignore[arg-type]
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["lfw-fed", "pins-fed"])
def test_equal_steps_have_the_schedule_of_the_main_comparison(name: str) -> None:
    """The rate falls after the same share of the training, so that FedFR differs from itself by nothing else."""

    def falls(config: ExperimentConfig) -> float:
        own = ClientSettings(BACKBONE, 2, 0, config.local, config.federation, make_compute(config))
        rate, length = local_plan(own, 1, "a").learning_rate, config.local.steps or config.local.epochs_in(1)
        return next(place for place in range(length) if rate(Moment(place, 0.0, place)) < rate(START)) / length

    plan = plan_benchmark(name, scenario="equal-steps")
    compared = [plan.experiment(0, cell) for cell in plan.cells]
    assert all(config.local.steps for config in compared)
    assert {falls(config) for config in compared} == {falls(plan_benchmark(name).experiment(0))} == {0.5}


def test_a_scenario_has_no_more_seeds_than_deals() -> None:
    assert plan_benchmark("pins-fed", scenario="worth-public").seeds == (0, 1, 2, 3)
    assert plan_benchmark("pins-fed", scenario="worth-images").seeds == (0, 1, 2, 3, 4)
    assert plan_benchmark("pins-fed", scenario="worth-public", seeds=2).seeds == (0, 1)
    with pytest.raises(FedfrError, match="benchmark pins-fed has 4 deals of different people, not 5"):
        plan_benchmark("pins-fed", scenario="worth-public", seeds=5)
