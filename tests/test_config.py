"""Configuration: presets say what they claim, files and overrides merge, mistakes name themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fedfr.config import PRESETS, ExperimentConfig, load_config, parse_overrides
from fedfr.errors import FedfrError


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_load_and_come_back(preset: str, tmp_path: Path) -> None:
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
    assert (paper.federation.average_prototypes, released.federation.average_prototypes) == (True, False)
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
        "federation.average_prototypes",
        "federation.weights",
        "local.decay_rounding",
        "local.decay_epoch_first_round",
        "evaluation.verification",
    }


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


def test_overrides() -> None:
    config = load_config(
        "paper",
        [
            "local.learning_rate=1e-3",
            "baselines=[local]",
            "method.dfc.transform=bottleneck",
            "faces.path=a b/ü",
            "seed=7",
        ],
    )
    assert config.local.learning_rate == 0.001
    assert config.baselines == ("local",)
    assert config.method.settings["dfc"]["transform"] == "bottleneck"
    assert config.method.settings["dfc"]["weight"] == 10.0, "what is not named stays"
    assert config.faces.path == "a b/ü"
    assert config.seed == 7
    assert parse_overrides(["a.b=1", "a.c=[1, 2]", "a.b=2"]) == {"a": {"b": 2, "c": [1, 2]}}


def test_a_file_builds_on_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "my run.yaml"
    path.write_text("preset: released\nfaces: {path: ../faces}\nlocal: {batch_size: 64}\n", encoding="utf-8")
    config = load_config(path, ["seed=3"])
    assert config.local.batch_size == 64
    assert config.local.decay_epoch_first_round == 8
    assert config.faces.path == str(tmp_path.parent / "faces"), "relative to the file, not to wherever one stands"
    assert config.seed == 3


def test_paths_of_a_file_are_its_own(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("model: {start: scratch}\nsplit: {manifest: split.json}\n", encoding="utf-8")
    config = load_config(path)
    assert config.model.start == "scratch"
    assert config.split.manifest == str(tmp_path / "split.json")


def test_settings_never_change() -> None:
    config = load_config(None)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3
    assert config == ExperimentConfig()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("local.epochs=0", "local.epochs"),
        ("federation.participation=0", "federation.participation = 0: input should be greater than 0"),
        ("federation.participation=1.5", "federation.participation = 1.5: input should be less than or equal to 1"),
        (
            "federation.batchnorm=shared",
            "federation.batchnorm = 'shared': input should be 'average', 'local' or 'frozen'",
        ),
        ("local.learning_rate=.nan", "local.learning_rate = nan"),
        ("local.learning_rate=fast", "local.learning_rate = 'fast': input should be a valid number"),
        ("local.colour=1", "unknown setting 'local.colour'; known here: epochs, first_epochs"),
        ("colour=1", "unknown setting 'colour'; known here: preset, seed, faces"),
        ("evaluation.fars=[0.1, 1]", "evaluation.fars.1 = 1: input should be less than 1"),
        ("baselines=[local, local]", r"baselines \['local', 'local'\] repeat a method"),
        ("baselines=[fedfr]", r"baselines \['fedfr'\] repeat a method \(fedfr is the main one\)"),
        ("seed=-1", "seed = -1: input should be greater than or equal to 0"),
    ],
)
def test_mistakes_name_themselves(override: str, message: str) -> None:
    with pytest.raises(FedfrError, match=message) as caught:
        load_config(None, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds NoneType; it must be a mapping"),
        (b"- 1\n- 2\n", "holds list; it must be a mapping"),
        (b"a: [1, 2\n", "is not readable YAML"),
        (b"seed: \xff\xfe\n", "is not readable YAML"),
        (b"preset: papr\n", "unknown preset 'papr'; known: quickstart, lfw-fed, paper, released"),
        (b"faces: 3\n", "faces = 3"),
        (b"seed: !!python/object/apply:os.system ['true']\n", "is not readable YAML"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(FedfrError, match=message) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value) or "preset" in message
