"""Output in a real terminal: no line wider than the screen, nothing cut, progress with units."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
import yaml
from rich.cells import cell_len
from tests.support.tiny_experiment import SETTINGS, tiny_faces

from fedfr.config.schema import parse_overrides
from fedfr.methods import METHODS

pytestmark = pytest.mark.slow

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def shown(width: int, *arguments: str | Path) -> str:
    """What the command writes to a terminal of so many columns, without colours and movements of the cursor."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    command = [sys.executable, "-c", "from fedfr.cli import main; main()", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment["TERM"] = "xterm-256color"
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as running:
        os.close(theirs)
        parts = []
        # The other end is closed by the end of the process, which reading reports as an error.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 65536):
                parts.append(part)
        assert running.wait() == 0, b"".join(parts)
    os.close(ours)
    return ANSI.sub("", b"".join(parts).decode()).replace("\r\n", "\n").replace("\r", "\n")


def too_wide(text: str, width: int) -> list[str]:
    """Return lines that are too wide; single words, such as paths, cannot be broken."""
    return [line for line in text.splitlines() if cell_len(line) > width and len(line.split()) > 2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("t")
    tiny_faces(alike=0.6).save(folder / "faces")
    settings = parse_overrides(
        [*SETTINGS, "model.backbone=slimface-small", "baselines=[local,fedfr-hn-con]", "evaluation.every=1"]
    )
    settings["faces"] = {"path": str(folder / "faces")}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(place: Path) -> str:
    return shown(80, "train", place / "tiny.yaml", "--out", place / "run")


def test_progress_bars_have_units_and_continue_during_evaluation(trained: str) -> None:
    assert too_wide(trained, 80) == []
    assert "…" not in trained
    for counted in ("2/2 steps", "4/4 client updates", "1/3 models", "3/3 models", "evaluating", "fedfr-hn-con"):
        assert counted in trained, counted


@pytest.mark.parametrize("width", [60, 80, 200])
def test_results_fit(place: Path, trained: str, width: int) -> None:
    assert "fedfr personalized" in trained
    for command in (("report", place / "run"), ("evaluate", place / "run")):
        text = shown(width, *command)
        assert too_wide(text, width) == [], command
        assert all(name in text for name in ("fedfr-hn-con personalized", "genuine", "personalized-1:N"))
        assert "…" not in text


@pytest.mark.parametrize("width", [60, 80])
def test_lists_and_face_sets_fit(place: Path, width: int) -> None:
    split = place / f"split-{width}.json"
    small = [part for text in SETTINGS if text.startswith("split.settings") for part in ("--set", text[15:])]
    commands: list[tuple[str | Path, ...]] = [
        ("list", "methods"),
        ("list", "scenarios"),
        ("list", "presets"),
        ("list", "backbones"),
        ("faces", "info", place / "faces"),
        ("faces", "split", place / "faces", split, *small),
        ("faces", "audit", place / "faces", "--split", split),
        ("benchmark", "--help"),
    ]
    for command in commands:
        text = shown(width, *command)
        assert too_wide(text, width) == [], command
        if command == ("list", "methods"):
            assert all(name in text for name in METHODS.names)
