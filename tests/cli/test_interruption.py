"""Ctrl-C in real processes: message about what is kept, and exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.deployment_folders import Deployment
from tests.support.tiny_experiment import SETTINGS, tiny_faces

from fedfr.deployment.background import wait_for
from fedfr.experiments.experiment import Experiment


def started(arguments: Sequence[str | Path], cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fedfr", *map(str, arguments)]
    # In a group of its own, all of which a terminal interrupts.
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )


def interrupted(process: subprocess.Popen[str]) -> str:
    """Return the last line on standard error; no other output follows."""
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    return said.strip().split("\n")[-1]


def reads(process: subprocess.Popen[str], fifo: Path) -> None:
    """Return once the process reads this pipe, which stays empty."""

    def opened() -> bool:
        assert process.poll() is None, process.communicate()[1]
        try:
            os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return False
        return True

    wait_for(opened, "a reader", 120)


@pytest.fixture
def config(tmp_path: Path) -> list[str]:
    tiny_faces().save(tmp_path / "faces")
    (tmp_path / "own.yaml").write_text("preset: quickstart\nfaces: {path: faces}\n")
    return ["own.yaml", "--out", "a run", *(part for each in SETTINGS for part in ("--set", each))]


@pytest.mark.slow
def test_a_run_is_resumed_by_its_name(tmp_path: Path, config: list[str]) -> None:
    process = started(["train", *config, "--set", "federation.rounds=100000", "--workers", "2"], tmp_path)
    wait_for((tmp_path / "a run" / "metrics.jsonl").exists, "the first event", 120)
    said = interrupted(process)
    assert said == "fedfr: interrupted; finished work is kept, continue with `fedfr resume 'a run'`"
    assert Experiment.open(tmp_path / "a run").config.federation.rounds == 100000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "pipe", "--out", "run"], "interrupted before the run was created; nothing is kept"),
        (
            ["pretrain", "pipe", "--out", "run"],
            "interrupted; finished work is kept, repeat the same command to continue",
        ),
        (["faces", "import", "faces", "new", "--align", "landmarks", "--landmarks", "pipe.tsv"], "interrupted"),
    ],
)
@pytest.mark.slow
def test_other_commands(tmp_path: Path, arguments: list[str], said: str) -> None:
    tiny_faces(2, 2).save(tmp_path / "faces")
    fifo = tmp_path / next(name for name in arguments if name.startswith("pipe"))
    os.mkfifo(fifo)
    process = started(arguments, tmp_path)
    reads(process, fifo)
    assert interrupted(process) == f"fedfr: {said}"
    assert {path.name for path in tmp_path.iterdir()} == {"faces", fifo.name}


@pytest.mark.slow
def test_a_running_site_is_stopped(tmp_path: Path) -> None:
    deployment = Deployment.make(tmp_path)
    process = started(["site", "run", deployment.site], tmp_path)
    wait_for((deployment.site / "flower" / "programs").exists, "the start", 120)
    assert process.stderr is not None
    assert "started as process" in process.stderr.readline()
    assert interrupted(process) == "fedfr: stopped"
