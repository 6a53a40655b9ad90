"""Differences between operating systems: usable cores, peak memory, refused functions."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from fedfr.core.memory import peak_memory
from fedfr.core.operating_system import require_linux, usable_cores


def test_cores_without_affinity_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == os.cpu_count()


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_peak_memory_without_proc(platform: str, unit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its unit is the system's own."""
    monkeypatch.setattr(Path, "exists", lambda path: False)
    monkeypatch.setattr(sys, "platform", platform)
    assert peak_memory() == pytest.approx(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, rel=0.01)


def test_functions_for_linux_are_refused_elsewhere() -> None:
    require_linux("it")
    setting = "sys.platform = 'darwin'; sys.argv = ['fedfr', 'site', 'check', 'x']"
    code = f"import sys; from fedfr.cli import main; {setting}; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    expected = (
        "fedfr: a federation of several machines needs Linux, and this is darwin; use a Linux machine or container\n"
    )
    assert (done.returncode, done.stderr) == (2, expected)
