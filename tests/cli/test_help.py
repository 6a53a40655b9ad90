"""Help and lists of all commands, without loading heavy libraries."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from rich.cells import cell_len
from tests.cli.conftest import Fedfr, answered

from fedfr.cli.main import app
from fedfr.config.loading import BENCHMARKS
from fedfr.faces import EXPORTERS, SPLITS
from fedfr.reporting.tracking import TRACKERS


def test_help_of_commands(fedfr: Fedfr) -> None:
    for command in ("", "quickstart", "train", "pretrain", "resume", "evaluate", "report", "faces", "list"):
        answer = fedfr(*command.split(), "--help")
        assert answer.code == 0
        assert "Usage" in answer.out


def test_help_lists_registered_names(fedfr: Fedfr) -> None:
    """Registered names in help texts are filled in from the registries."""
    scenarios = {row["name"] for row in answered(fedfr("list", "scenarios", "--json"))}
    assert {"identities", "tuning", "updates"} <= scenarios
    shown = " ".join(word.strip("│") for word in fedfr("benchmark", "--help").out.split())
    for name in (*BENCHMARKS, *scenarios, "cpu", "full", *TRACKERS.names):
        assert name in shown, name
    assert "{" not in shown
    for command, names in (("faces split", SPLITS.names), ("faces export", EXPORTERS.names)):
        shown = fedfr(*command.split(), "--help").out
        assert all(name in shown for name in names), command


def test_help_without_arguments(fedfr: Fedfr) -> None:
    answer = fedfr()
    assert "quickstart" in answer.out + answer.err


@pytest.mark.parametrize("kind", ["methods", "backbones", "protocols", "presets"])
def test_lists(fedfr: Fedfr, kind: str) -> None:
    rows = answered(fedfr("list", kind, "--json"))
    text = fedfr("list", kind).out
    assert len(rows) >= 4
    assert all(row["description"] and row["name"] in text for row in rows)


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The arguments that name each command and group below ``command``."""
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


def words(text: str) -> set[str]:
    return set(re.sub("[│╭╮╰╯─]", " ", text).split())


def test_nothing_is_cut_or_broken_in_a_narrow_terminal(fedfr: Fedfr, monkeypatch: pytest.MonkeyPatch) -> None:
    """Help of every command, and every list: the words of a wide terminal, within the width of a narrow one."""
    every = [*commands(typer.main.get_command(app))]
    assert len(every) > 40
    for command in every:
        arguments = command if command[:1] == ("list",) and len(command) == 2 else (*command, "--help")
        monkeypatch.setenv("COLUMNS", "300")
        wide = fedfr(*arguments).out
        for width in (60, 80):
            monkeypatch.setenv("COLUMNS", str(width))
            narrow = fedfr(*arguments).out
            assert words(narrow) == words(wide), (command, width)
            assert [line for line in narrow.splitlines() if cell_len(line) > width] == [], (command, width)


@pytest.mark.parametrize(
    "command",
    ["--help", "faces --help", "list methods", "list backbones --json", "list protocols", "list presets --json"],
)
def test_commands_without_a_network_import_no_torch(command: str) -> None:
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
