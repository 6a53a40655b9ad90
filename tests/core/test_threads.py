"""OpenMP waiting policy in started processes; settings of the user are kept."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fedfr
from fedfr.core.threads import let_threads_sleep
from fedfr.deployment.processes import environment
from fedfr.engines.local import LocalEngine
from fedfr.federation.client import Client
from fedfr.federation.messages import Broadcast, Failure

torch = pytest.importorskip("torch")
STATED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
# How often a thread looks before it sleeps; PyTorch on Linux comes with GNU's OpenMP, which tells when it is loaded.
ASLEEP, TOLD = "GOMP_SPINCOUNT = '0'", "GOMP_SPINCOUNT = "
ROOT = Path(__file__).parents[2]
# A command that needs no PyTorch, and then PyTorch: what the command line sets is set before anything else.
LATER = """
import sys
from fedfr.cli import main
sys.argv = ["fedfr", "list", "backbones"]
try:
    main()
finally:
    import torch
"""
COMMANDS = {
    "command line": ["-c", LATER],
    "benchmark": ["benchmarks/precision.py", "--help"],
    "tests": ["-m", "pytest", "-s", "--collect-only", "-q", "tests/training/test_bf16_screening.py"],
}


def untold(**more: str) -> dict[str, str]:
    """An environment without a waiting policy, in which OpenMP prints its own."""
    kept = {name: value for name, value in os.environ.items() if name not in STATED}
    source = str(Path(fedfr.__file__).parents[1])
    return {**kept, "OMP_DISPLAY_ENV": "VERBOSE", "PYTHONPATH": source, **more}


@pytest.mark.parametrize("kind", COMMANDS)
@pytest.mark.slow
def test_started_processes(kind: str) -> None:
    for given, expected in (({}, ASLEEP), ({"GOMP_SPINCOUNT": "77"}, f"{TOLD}'77'")):
        command = [sys.executable, *COMMANDS[kind]]
        done = subprocess.run(command, env=untold(**given), cwd=ROOT, capture_output=True, encoding="utf-8")
        told = [line for line in done.stderr.splitlines() if TOLD in line]
        assert told, done.stderr[-500:]
        assert expected in told[-1]


class Failing:
    """A factory that makes no client, because only the start of the process matters."""

    def __call__(self, client: str) -> Client:
        """Never returns."""
        raise RuntimeError(client)


def test_workers(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STATED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_DISPLAY_ENV", "VERBOSE")
    broadcast = Broadcast(1, {"w": torch.zeros(1)}, torch.zeros(1, 1))
    with LocalEngine(Failing(), workers=2) as engine:
        (reply,) = engine.exchange(broadcast, ["client-01"])
    assert isinstance(reply, Failure)
    assert ASLEEP in capfd.readouterr().err
    assert multiprocessing.active_children() == []


def test_flowers_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SuperLink and SuperNode and their child processes inherit the policy."""
    for name in STATED:
        monkeypatch.delenv(name, raising=False)
    assert environment(tmp_path)["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "OMP_WAIT_POLICY" not in os.environ, "this process is the caller's own"


@pytest.mark.parametrize("name", STATED)
def test_settings_of_the_user_are_kept(name: str) -> None:
    given = {name: "as they like"}
    let_threads_sleep(given)
    assert given == {name: "as they like"}
