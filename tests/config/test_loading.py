"""Reading of presets, files and overrides: paths, names, damaged YAML."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from fedfr.config.loading import read_settings_file
from fedfr.config.schema import (
    COMMON_SPLIT_SETTINGS,
    FaceSource,
    load_config,
    parse_overrides,
)
from fedfr.core.errors import FedfrError
from fedfr.faces.splits.recipes import COMMON_SETTINGS


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
    assert config.faces.path == str(Path.cwd() / "a b" / "ü")
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


def test_paths_of_overrides_are_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "c.yaml").write_text("faces: {path: of the file}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/of somebody")
    config = load_config(
        Path("runs/c.yaml"),
        ["faces.path=my faces", "split.manifest=../s.json", "split.settings.pairs=~/pairs.txt", "model.start=m.pth"],
    )
    assert config.faces.path == str(tmp_path / "my faces")
    assert config.split.manifest == str(tmp_path.parent / "s.json")
    assert config.split.settings["pairs"] == "/home/of somebody/pairs.txt"
    assert config.model.start == str(tmp_path / "m.pth")
    assert load_config("runs/c.yaml").faces.path == str(tmp_path / "runs" / "of the file")
    assert load_config(None, ["model.start=scratch"]).model.start == "scratch"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds NoneType; it must be a mapping"),
        (b"- 1\n- 2\n", "holds list; it must be a mapping"),
        (b"a: [1, 2\n", "is not readable YAML"),
        (b"seed: \xff\xfe\n", "is not readable YAML"),
        (b"preset: papr\n", "unknown preset 'papr'; known: quickstart, orl, lfw-fed, pins-fed, paper, released"),
        (b"faces: 3\n", "faces = 3"),
        (b"seed: !!python/object/apply:os.system ['true']\n", "is not readable YAML"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(FedfrError, match=message) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value) or "preset" in message


NAMES = ["no", "007", "1e3", "1.5", "0x1F", "off", "2024-01-01", "y", "5 b"]


def test_names_are_read_as_they_are_written(tmp_path: Path) -> None:
    """YAML 1.1 takes most of these for truth values, octal numbers, floats or dates."""
    written = f"[{', '.join(NAMES)}]"
    (tmp_path / "run.yaml").write_text(f"client: off\nsplit:\n  settings: {{clients: {written}, seed: 007}}\n")
    settings = {"clients": NAMES, "seed": 7}
    assert read_settings_file(tmp_path / "run.yaml") == {"client": "off", "split": {"settings": settings}}
    assert parse_overrides([f"split.settings.clients={written}"]) == {"split": {"settings": {"clients": NAMES}}}
    assert parse_overrides([f"clients={written}"]) == {"clients": NAMES}
    assert parse_overrides(["clients=4"]) == {"clients": 4}
    assert parse_overrides(["clients=1e3"]) == {"clients": "1e3"}
    assert parse_overrides(["clients=no"]) == {"clients": "no"}
    assert parse_overrides(["public_partitions=[0, no, 1.5]"]) == {"public_partitions": [0, "no", "1.5"]}
    assert parse_overrides(["local.learning_rate=1e3"]) == {"local": {"learning_rate": 1000.0}}
    assert parse_overrides(["identities_per_client=[3, 4]"]) == {"identities_per_client": [3, 4]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"{after}: &{after} [{', '.join(9 * [f'*{before}'])}]\n" for before, after in pairwise("abcdefgh")
        ), "expands to more than 1000000 values"),
        ("a: &a [*a]", "expands to more than 1000000 values"),
        ("a: &a {x: 1}\n" + "".join(
            f"{after}: &{after} {{<<: [{', '.join(9 * [f'*{before}'])}]}}\n" for before, after in pairwise("abcdefgh")
        ), "expands to more than 1000000 values"),
        ("a: " + "[" * 5000, "nested|recursion|line"),
        ("a: " + "9" * 5000, "integer string conversion"),
        ("a: !!int ''", "index"),
        ("a: 2026-99-99", "month"),
    ],
)  # fmt: skip
def test_yaml_that_cannot_be_built_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(FedfrError, match=rf"c\.yaml is not readable YAML \(.*({reason})"):
        load_config(tmp_path / "c.yaml")


@pytest.mark.parametrize("order", [1, -1])
def test_a_single_path_names_a_face_set(tmp_path: Path, order: int) -> None:
    """It keeps the name and the exclude file of the set, in either order."""
    given = [f"faces.private={tmp_path / 'pins'}", f"faces.private.exclude={tmp_path / 'list'}"][::order]
    (private,) = load_config("pins-fed", given).faces.private
    assert (private.name, private.path, private.exclude) == ("pins", str(tmp_path / "pins"), str(tmp_path / "list"))
    (tmp_path / "c.yaml").write_text("faces: {public: lfw, private: pins, generic: other}")
    faces = load_config(tmp_path / "c.yaml", [f"faces.private.exclude={tmp_path / 'list'}", "faces.generic=null"]).faces
    assert faces.private == (FaceSource(path=str(tmp_path / "pins"), exclude=str(tmp_path / "list")),)
    assert faces.generic is None


def test_another_recipe_drops_the_settings_of_the_old_one(tmp_path: Path) -> None:
    assert load_config("quickstart", ["split.recipe=sets"]).split.settings == {}
    given = ["split.recipe=sets", "split.settings.test_count=2"]
    assert load_config("quickstart", given).split.settings == {"test_count": 2}
    assert load_config("quickstart", ["split.recipe=quickstart"]) == load_config("quickstart")
    (tmp_path / "c.yaml").write_text("split: {settings: {clients: 3, duplicates: drop, exclude: bad.csv}}")
    kept = load_config(tmp_path / "c.yaml", given).split.settings
    assert kept == {"duplicates": "drop", "exclude": str(tmp_path / "bad.csv"), "test_count": 2}
    assert COMMON_SPLIT_SETTINGS == COMMON_SETTINGS
