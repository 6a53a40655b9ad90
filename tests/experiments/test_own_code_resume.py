"""Killed and resumed runs with code of another package, unchanged or changed in between."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.support.tiny_experiment import bits, tiny_config

from fedfr.experiments.experiment import Experiment
from fedfr.reporting.progress import Silent

CODE = """
from fedfr.federation.method import GenericModel, Method
from fedfr.losses import cosface_logits


class Momentum(Method):
    def server_step(self, generic, average):
        before = generic.server_state
        moved = {f"m/{name}": 0.5 * before.get(f"m/{name}", 0 * value) + value - generic.weights[name]
                 for name, value in average.weights.items() if value.is_floating_point()}
        weights = {name: generic.weights[name] + moved[f"m/{name}"] if f"m/{name}" in moved else value
                   for name, value in average.weights.items()}
        return GenericModel(weights, average.prototypes, {**average.server_state, **moved})


def loss(features, prototypes, labels):
    return cosface_logits(features, prototypes, labels, 20.0, 0.2)
"""

KILLED = """
import os, signal, sys
from fedfr.cli import main
moment, sys.argv = sys.argv[1], ["fedfr", *sys.argv[2:]]
def watch(event, arguments):
    if event == "os.rename" and moment in str(arguments[1]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
main()
"""

OWN = ("method.name=ownpackage:Momentum", "local.loss=ownpackage:loss", "federation.rounds=3")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The module of the package, importable by other processes."""
    (tmp_path / "packages" / "ownpackage").mkdir(parents=True)
    path = tmp_path / "packages" / "ownpackage" / "__init__.py"
    path.write_text(CODE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(path.parents[1]))
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(path.parents[1]), before))))
    return path


class Told(Silent):
    """Progress that records its notes."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def note(self, text: str) -> None:
        self.notes.append(text)


def python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_resumed_run_has_equal_bits_and_reports_changed_code(tmp_path: Path, source: Path) -> None:
    config = tiny_config(tmp_path, *OWN)
    Experiment.create(config, tmp_path / "whole").run(False)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    # Private states of the second round are written, its generic model is not.
    killed = python("-c", KILLED, "rounds/0002", "train", tmp_path / "config.yaml", "--out", tmp_path / "kept")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    shutil.copytree(tmp_path / "kept", tmp_path / "changed", symlinks=True)
    told: list[str] = []
    Experiment.open(tmp_path / "kept").run(Told(told))
    assert bits(tmp_path / "kept") == bits(tmp_path / "whole")
    assert told == []

    source.write_text(CODE.replace("0.5 * before", "0.25 * before"), encoding="utf-8")
    resumed = python("-m", "fedfr", "resume", tmp_path / "changed")
    assert resumed.returncode == 0, resumed.stderr
    for name in ("ownpackage:Momentum", "ownpackage:loss"):
        assert resumed.stderr.count(f"{name} has changed since this run began (unversioned, SHA-256 ") == 1
    assert bits(tmp_path / "changed") != bits(tmp_path / "whole")
    old, new = (json.loads((tmp_path / place / "environment.json").read_text("utf-8")) for place in ("kept", "changed"))
    assert "earlier_code" not in old
    own = {name: terms for name, terms in old["code"].items() if name.startswith("ownpackage:")}
    assert len(own) == 2
    assert [record["code"] for record in new["earlier_code"]] == [own]
    assert {name for name, terms in new["code"].items() if old["code"][name] != terms} == own.keys()
    # A finished run computes nothing: there is nothing to report.
    Experiment.open(tmp_path / "kept").run(Told(told))
    assert told == []
