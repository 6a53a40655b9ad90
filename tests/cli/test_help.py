"""Help and lists of all commands, without loading heavy libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.cli.conftest import Fedfr, answered

from fedfr.config.loading import BENCHMARKS
from fedfr.faces import EXPORTERS, SPLITS
from fedfr.reporting.tracking import TRACKERS


def test_help_of_everything(fedfr: Fedfr) -> None:
    for command in ("", "quickstart", "train", "pretrain", "resume", "evaluate", "report", "faces", "list"):
        answer = fedfr(*command.split(), "--help")
        assert answer.code == 0
        assert "Usage" in answer.out


def test_help_names_what_the_registries_hold(fedfr: Fedfr) -> None:
    """Registered names in help texts are filled in from the registries."""
    scenarios = {row["name"] for row in answered(fedfr("list", "scenarios", "--json"))}
    assert {"identities", "learning-rate", "updates"} <= scenarios
    shown = " ".join(word.strip("│") for word in fedfr("benchmark", "--help").out.split())
    for name in (*BENCHMARKS, *scenarios, "cpu", "full", *TRACKERS.names):
        assert name in shown, name
    assert "{" not in shown
    for command, names in (("faces split", SPLITS.names), ("faces export", EXPORTERS.names)):
        shown = fedfr(*command.split(), "--help").out
        assert all(name in shown for name in names), command


def test_without_arguments_it_explains_itself(fedfr: Fedfr) -> None:
    answer = fedfr()
    assert "quickstart" in answer.out + answer.err


@pytest.mark.parametrize("kind", ["methods", "backbones", "protocols", "presets"])
def test_lists(fedfr: Fedfr, kind: str) -> None:
    rows = answered(fedfr("list", kind, "--json"))
    text = fedfr("list", kind).out
    assert len(rows) >= 4
    assert all(row["description"] and row["name"] in text for row in rows)


@pytest.mark.parametrize(
    "command",
    ["--help", "faces --help", "list methods", "list backbones --json", "list protocols", "list presets --json"],
)
def test_what_needs_no_network_imports_no_torch(command: str) -> None:
    """Commands without a network do not import torch, which takes a second."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('heavy:', *sorted({'torch', 'cv2', 'numpy'} & set(sys.modules))))\n"
        "from fedfr.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *command.split()], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy:"
