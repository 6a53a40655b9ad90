"""A method of another package in a federation of processes: equal where allowed, refused elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.support.federation import Federation

from fedfr.deployment.background import wait_for

pytestmark = pytest.mark.slow

NAME = "sitepackage.methods:HalfStep"
CODE = '''
import torch

from fedfr.federation.method import GenericModel, Method


class HalfStep(Method):
    """FedAvg whose server goes half of the way."""

    def server_step(self, generic, average):
        weights = {name: torch.lerp(generic.weights[name], value, 0.5) if value.is_floating_point() else value
                   for name, value in average.weights.items()}
        return GenericModel(weights, average.prototypes)
'''
SETTINGS = (
    f"method.name={NAME}",
    "model.backbone=slimface",
    "federation.rounds=2",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the package; one for all tests, because this process imports it once."""
    return installed(tmp_path_factory.mktemp("packages"), CODE)


@pytest.fixture(autouse=True)
def importable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process and its children import the package."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def installed(folder: Path, code: str) -> Path:
    (folder / "sitepackage").mkdir(parents=True)
    (folder / "sitepackage" / "__init__.py").touch()
    (folder / "sitepackage" / "methods.py").write_text(code, encoding="utf-8")
    return folder


def test_an_allowed_method_equals_a_local_run(tmp_path: Path) -> None:
    with Federation(tmp_path / "all", *SETTINGS) as made:
        made.local.run(False)
        made.start_run()
        wait_for(made.finished, "the end of the run")
        assert made.events("refused") == []
        expected, found = made.expected(), made.tensors()
        assert expected.keys() == found.keys()
        assert [name for name, value in expected.items() if found[name] != value] == []


def test_sites_refuse_code_that_is_not_allowed_or_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Federation(tmp_path / "some", *SETTINGS) as made:
        first, second, third = (made.sites[client] for client in made.sites)
        site = yaml.safe_load(second.read_text(encoding="utf-8"))
        assert site["allow"] == [NAME]
        second.write_text(yaml.safe_dump({**site, "allow": []}), encoding="utf-8")
        assert f"{NAME}: allowed" in check(first)
        assert f"has not allowed; read that code, and add it to `allow` in site.yaml: allow: [{NAME}]" in check(second)
        other = installed(tmp_path / "other", CODE.replace("0.5)", "0.9)"))
        monkeypatch.setenv("PYTHONPATH", f"{other}{os.pathsep}{os.environ['PYTHONPATH']}")
        assert "this site has the same version with other source files" in check(third)


def check(site: Path) -> str:
    """Run ``fedfr site check`` and return its output as one line."""
    command = [sys.executable, "-m", "fedfr", "site", "check", str(site.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return " ".join((done.stdout + done.stderr).split())
