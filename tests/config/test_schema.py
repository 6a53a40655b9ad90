"""Configuration: values of the presets, merging of files and overrides, errors for invalid settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fedfr.config.schema import (
    PRESETS,
    ExperimentConfig,
    LocalConfig,
    load_config,
)
from fedfr.core.errors import FedfrError
from fedfr.experiments import from_config
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.from_config import local_training, make_compute, make_method
from fedfr.methods import METHODS
from fedfr.methods.fedfr import FedFRSettings


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_read_back(preset: str, tmp_path: Path) -> None:
    config = load_config(preset)
    assert config.preset == preset
    assert config.method.name == "fedfr"
    path = tmp_path / "resolved.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    assert load_config(path) == config


def test_paper_and_released_differ_where_the_specification_says_so() -> None:
    paper, released = (load_config(name) for name in ("paper", "released"))
    assert (paper.method.settings["prototypes"], released.method.settings["prototypes"]) == ("mean-feature", "random")
    previous = [config.method.settings["contrastive"]["first_previous"] for config in (paper, released)]
    assert previous == ["global", "random"]
    assert (paper.federation.prototypes, released.federation.prototypes) == ("share", "keep")
    assert (paper.federation.weights, released.federation.weights) == ("private", "trained")
    assert (paper.local.decay_rounding, released.local.decay_rounding) == ("up", "down")
    assert (paper.local.decay_epoch_first_round, released.local.decay_epoch_first_round) == (None, 8)
    assert (paper.evaluation.verification, released.evaluation.verification) == ("exact", "binned")
    left, right = (config.model_dump(exclude={"preset", "method"}) for config in (paper, released))
    differing = {
        f"{group}.{name}"
        for group in left
        if isinstance(left[group], dict)
        for name in left[group]
        if left[group][name] != right[group][name]
    }
    assert differing == {
        "federation.prototypes",
        "federation.weights",
        "local.decay_rounding",
        "local.decay_epoch_first_round",
        "evaluation.verification",
    }


def test_the_former_name_of_prototypes_is_read() -> None:
    """Configurations stored by earlier versions hold it, in runs that can still be resumed."""
    old = [load_config(None, {"federation": {"average_prototypes": value}}) for value in (True, False)]
    assert [config.federation.prototypes for config in old] == ["share", "keep"]
    with pytest.raises(FedfrError, match="average_prototypes is the former name of prototypes; give prototypes alone"):
        load_config(None, ["federation.average_prototypes=true", "federation.prototypes=keep"])
    with pytest.raises(FedfrError, match=r"unknown setting 'federation\.average_prototypes'; known here: rounds, "):
        load_config(None, ["federation.average_prototypes=7"])


@pytest.mark.parametrize("preset", ["paper", "released"])
def test_the_papers_numbers(preset: str) -> None:
    config = load_config(preset)
    assert config.model.backbone == "sphereface64"
    assert config.federation.rounds == 20
    assert config.federation.participation == 1.0
    local = config.local
    assert (local.batch_size, local.learning_rate, local.momentum, local.weight_decay) == (256, 1e-3, 0.9, 5e-4)
    assert (local.scale, local.margin) == (30.0, 0.4)
    method = config.method.settings
    assert method["hard_negatives"]["threshold"] == 0.4
    assert (method["contrastive"]["weight"], method["contrastive"]["temperature"]) == (5.0, 0.5)
    dfc = method["dfc"]
    assert [dfc[name] for name in ("weight", "scale", "margin", "positive_weight", "power")] == [
        10.0,
        30.0,
        0.4,
        0.7,
        3,
    ]
    assert config.split.recipe == "ms1m-fedfr"
    assert config.split.settings == {
        "public_identities": 6000,
        "public_min_images": 61,
        "public_max_images": 79,
        "clients": 40,
        "identities_per_client": 100,
        "private_min_images": 101,
        "private_max_images": 109,
        "test_count": 40,
        "generic_identities": 0,
        "seed": 100,
    }


@pytest.mark.parametrize("name", METHODS.names)
@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_one_switch_changes_the_method(preset: str | None, name: str, tmp_path: Path) -> None:
    """By override and by a file that builds on the preset; what every method has stays, for the baselines too."""
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"preset": preset, "method": {"name": name}}), encoding="utf-8")
    prototypes = "random" if preset == "released" else "mean-feature"
    config = load_config(preset, [f"method.name={name}"])
    assert load_config(path) == config
    assert name not in config.baselines
    for each in (name, *config.baselines):
        assert make_method(config, each).settings.prototypes == prototypes
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    assert load_config(resolved) == config


def test_what_is_given_with_the_method_is_checked(tmp_path: Path) -> None:
    config = load_config("quickstart", ["method.name=fedavg", "method.hard_negatives.threshold=0.5"])
    with pytest.raises(FedfrError, match="method fedavg: unknown setting 'hard_negatives'; known here: prototypes"):
        make_method(config, "fedavg")
    with pytest.raises(FedfrError, match="repeat a method"):
        load_config("quickstart", ["method.name=local", "baselines=[local]"])
    path = tmp_path / "run.yaml"
    path.write_text("preset: quickstart\nmethod: {name: fedavg}\n", encoding="utf-8")
    back = load_config(path, ["method.name=fedfr", "method.dfc.power=2"])
    assert back.method.settings == {"dfc": {"power": 2}}, "the preset's settings went with its method"


@pytest.mark.parametrize("name", [name for name in METHODS.names if name != "fedfr"])
def test_baselines_take_what_every_method_has(name: str) -> None:
    config = load_config("released", [f"baselines=[{name}]"])
    found, main = make_method(config, name).settings, make_method(config, "fedfr").settings
    assert found.prototypes == "random"
    if not isinstance(found, FedFRSettings):
        assert found == METHODS[name].settings_type(prototypes="random")
        return
    # A variant of the main method differs from it in nothing but what its name says.
    changed = found.model_dump(include=set(FedFRSettings.model_fields))
    for part in ("hard_negatives", "contrastive", "dfc"):
        changed[part]["enabled"] = True
    assert changed == main.model_dump()


def test_a_baseline_may_have_settings_of_its_own() -> None:
    config = load_config("quickstart", ["baselines=[fedprox]", "baseline_settings.fedprox.mu=0.3"])
    assert make_method(config, "fedprox").settings.model_dump() == {"prototypes": "mean-feature", "mu": 0.3}
    with pytest.raises(FedfrError, match="baseline_settings of"):
        load_config("quickstart", ["baselines=[local]", "baseline_settings.fedprox.mu=0.3"])


def test_a_method_may_train_in_its_own_way() -> None:
    given = ["method.local.learning_rate=0.5", "baselines=[fedavg, moon]", "baseline_settings.moon.local.epochs=3"]
    config = load_config("quickstart", given)
    common = config.local
    assert local_training(config, "fedfr") == common.model_copy(update={"learning_rate": 0.5})
    assert local_training(config, "fedavg") == common
    assert local_training(config, "moon") == common.model_copy(update={"epochs": 3})
    assert make_method(config, "moon").settings == METHODS["moon"].settings_type()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("baseline_settings.local.local.learning_rate=-1", "local training of local: learning_rate = -1"),
        ("method.local.rate=1", "local training of fedfr: unknown setting 'rate'"),
        ("baseline_settings.local.local=3", "local training of local = 3; give settings of `local`"),
    ],
)
def test_local_training_is_checked_before_a_run_begins(given: str, message: str, tmp_path: Path) -> None:
    config = load_config("quickstart", [given, "baselines=[local]"])
    with pytest.raises(FedfrError, match=re.escape(message)):
        Experiment.create(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 40))
def test_adaptive_epochs(first: int, least: int, number: int) -> None:
    local = LocalConfig(first_epochs=first, least_epochs=least)
    epochs, after = local.epochs_in(number), local.epochs_in(number + 1)
    assert local.epochs_in(1) == first
    assert after == max(min(first, least), epochs - 2)
    assert 1 <= after <= epochs


def test_settings_never_change() -> None:
    config = load_config(None)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3
    assert config == ExperimentConfig()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("local.epochs=0", "local.epochs = 0: give 'adaptive' or a whole number of at least 1"),
        ("federation.participation=0", "federation.participation = 0: give a number above 0 and at most 1"),
        ("federation.batchnorm=shared", "federation.batchnorm = 'shared': give 'average', 'local' or 'frozen'"),
        ("local.learning_rate=.nan", "local.learning_rate = nan: give a number above 0"),
        ("local.learning_rate=fast", "local.learning_rate = 'fast': give a number above 0"),
        ("local.colour=1", "unknown setting 'local.colour'; known here: epochs, first_epochs"),
        ("colour=1", "unknown setting 'colour'; known here: preset, seed, faces"),
        ("evaluation.fars=[0.1, 1]", "evaluation.fars.1 = 1: give a number above 0 and below 1"),
        ("baselines=[local, local]", "defaults: baselines ['local', 'local'] repeat a method"),
        ("baselines=[fedfr]", "defaults: baselines ['fedfr'] repeat a method (fedfr is the main one)"),
        ("seed=-1", "seed = -1: give a whole number of at least 0"),
    ],
)
def test_errors_name_the_setting(override: str, message: str) -> None:
    with pytest.raises(FedfrError, match=re.escape(message)) as caught:
        load_config(None, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["meta", "xpu", "", "cuda:x", "cpu,", "CPU", "cpu:-1", "vulkan", "cpu;cuda"])
def test_a_device_that_cannot_compute_everything_is_refused_when_it_is_read(device: str) -> None:
    with pytest.raises(FedfrError, match=r"runtime\.device.* is not a known device; give cpu, cuda, or"):
        load_config(None, {"runtime": {"device": device}})


@pytest.mark.parametrize("device", ["mps", "mps:0", "cpu,mps"])
def test_apples_gpu_is_refused_with_the_reason(device: str) -> None:
    with pytest.raises(FedfrError, match=r"runtime\.device.* 'mps(:0)?' cannot be used: Apple's GPU has no double"):
        load_config(None, {"runtime": {"device": device}})


def test_devices_are_of_one_kind() -> None:
    assert load_config(None, {"runtime": {"device": "cpu, cpu:0"}}).runtime.devices == ("cpu", "cpu:0")
    with pytest.raises(FedfrError, match=r"devices must be of one kind"):
        load_config(None, {"runtime": {"device": "cpu,cuda:0"}})


@pytest.mark.skipif(torch.version.cuda is not None, reason="this PyTorch is built with CUDA")
def test_every_device_is_checked() -> None:
    with pytest.raises(
        FedfrError, match=r"runtime\.device = 'cuda', but this PyTorch is built without CUDA; .* or use cpu"
    ):
        make_compute(load_config(None, {"runtime": {"device": "cuda,cuda:1"}}), worker=1)


def test_emulated_bf16_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(None, {"runtime": {"precision": "bf16"}})
    monkeypatch.setattr(from_config, "has_fast_bf16", lambda _: False)
    with pytest.warns(UserWarning, match=r"for which cpu has no instructions: .*; use fp32 here"):
        assert make_compute(config).bf16
    monkeypatch.setattr(from_config, "has_fast_bf16", lambda _: True)
    assert make_compute(config).bf16


@pytest.mark.parametrize("setting", ["federation.secure", "privacy.dp"])
def test_off_is_a_word_although_yaml_reads_it_as_false(setting: str, tmp_path: Path) -> None:
    group, name = setting.split(".")
    path = tmp_path / "config.yaml"
    path.write_text(f"{group}: {{{name}: off}}\n")
    for config in (load_config(None, [f"{setting}=off"]), load_config(path)):
        assert getattr(getattr(config, group), name) == "off"
    with pytest.raises(FedfrError, match=rf"{setting} = True: give 'off'(,| or)"):
        load_config(None, [f"{setting}=on"])
