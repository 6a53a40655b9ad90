"""The package of docs/extending.md: training with workers, resuming, comparison, report, evaluation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.support.tiny_experiment import SETTINGS, bits, tiny_config

import fedfr
from fedfr.config.schema import load_config, parse_overrides
from fedfr.core.errors import FedfrError
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.benchmark_plan import plan_benchmark
from fedfr.experiments.experiment import Experiment
from fedfr.methods import METHODS
from fedfr.methods.fedavg import FedAvg

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
OWN = (
    "method.name=mypackage.methods:SlowAverage",
    "method.step=0.3",
    "local.loss=mypackage.losses:smooth_cosface",
    "model.backbone=mypackage.networks:SMALL",
    "evaluation.protocols=[mypackage.protocols:mean_norm]",
    "federation.aggregation=mypackage.rules:midrange",
    "runtime.workers=2",
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files, in a folder that this process and its children import from."""
    folder = tmp_path_factory.mktemp("packages")
    files = re.findall(r"`(mypackage/\w+\.py)`:\n\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(files) == 5
    (folder / "mypackage").mkdir()
    (folder / "mypackage" / "__init__.py").touch()
    for name, text in files:
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def importable(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.setenv("PYTHONPATH", f"{package}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fedfr", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_run_with_workers_is_resumed_and_reported(tmp_path: Path) -> None:
    run = Experiment.create(tiny_config(tmp_path, *OWN), tmp_path / "run")
    rows = run.run(False)
    assert {row.metric for row in rows if row.protocol == "mypackage.protocols:mean_norm"} == {"mean norm"}
    stored = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text(encoding="utf-8"))
    assert stored["method"]["name"] == "mypackage.methods:SlowAverage"
    before = bits(tmp_path / "run")
    again = cli("resume", tmp_path / "run")
    assert again.returncode == 0, again.stderr
    assert bits(tmp_path / "run") == before
    report = cli("report", tmp_path / "run")
    assert report.returncode == 0, report.stderr
    model = ("evaluate", tmp_path / "run" / "generic.safetensors", "--faces", tmp_path / "faceset")
    refused = cli(*model)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "which a model file alone does not import" in refused.stderr
    allowed = cli(*model, "--backbone", "mypackage.networks:SMALL", "--protocol", "mypackage.protocols:mean_norm")
    assert allowed.returncode == 0, allowed.stderr
    assert "mean norm" in allowed.stdout


def test_a_benchmark_compares_it(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    settings = parse_overrides([*SETTINGS, *OWN[3:4], f"faces.path={config.faces.path}", "federation.rounds=1"])
    settings.pop("baselines")
    settings["baseline_settings"] = {"mypackage.methods:SlowAverage": {"step": 0.1}}
    settings["method"] = {"local": {"loss": "mypackage.losses:smooth_cosface"}}
    plan = plan_benchmark("orl", methods=["fedavg", "mypackage.methods:SlowAverage"], seeds=1, settings=settings)
    results = Benchmark.begin(plan, tmp_path / "bench").run()
    assert {result.row.method for result in results} == {"pretrained", "fedavg", "mypackage.methods:SlowAverage"}


def test_settings_are_checked_as_those_of_built_in_methods(tmp_path: Path) -> None:
    for wrong, message in (
        ("method.stepp=0.3", "unknown setting 'stepp'; known here: prototypes, step"),
        ("method.step=much", r"step = 'much': give a number"),
    ):
        with pytest.raises(FedfrError, match=message):
            Experiment.create(tiny_config(tmp_path, *OWN, wrong), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_method_is_given_as_a_class(tmp_path: Path) -> None:
    from mypackage.methods import SlowAverage  # type: ignore[import-not-found]

    run = Experiment.create(
        tiny_config(tmp_path, "federation.rounds=1"), tmp_path / "run", method=SlowAverage({"step": 0.2})
    )
    assert (run.config.method.name, run.config.method.settings["step"]) == ("mypackage.methods:SlowAverage", 0.2)
    assert Experiment.open(tmp_path / "run").config == run.config
    assert Experiment.create(tiny_config(tmp_path), tmp_path / "other", method=FedAvg).config.method.name == "fedavg"


def test_objects_that_other_processes_cannot_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METHODS, "_registered", {})

    @fedfr.register_method("mine")
    class Mine(FedAvg):
        pass

    one = "method.name=mine", "federation.rounds=1", "method.prototypes=random"
    with pytest.raises(FedfrError, match=r"is defined inside a function.*runtime\.workers=1"):
        Experiment.create(tiny_config(tmp_path, *one, "runtime.workers=2"), tmp_path / "run")
    Experiment.create(tiny_config(tmp_path, *one), tmp_path / "run").run(False)
    again = cli("resume", tmp_path / "run")
    assert again.returncode == 2
    assert again.stderr.startswith("fedfr: ")
    assert "is defined inside a function" in again.stderr
    assert again.stderr.count("\n") == 1
    assert load_config(tmp_path / "run" / "config.yaml").method.name.endswith("<locals>.Mine")
