"""Named pipes in place of files are refused without blocking."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.support.tiny_experiment import tiny_faces


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("faces import pipe new", "pipe is not a folder; give one with a sub-folder"),
        ("faces exclude faces pipe --out new", "cannot read pipe: it is not a regular file"),
        ("faces pack-pairs faces pipe new.bin", "cannot read the pairs pipe (it is not a regular file)"),
        ("models import pipe new.safetensors", "pipe do not exist"),
    ],
)
@pytest.mark.slow
def test_pipes_do_not_block(command: str, said: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    made = tiny_faces(1, 2)
    made.subset(np.arange(2)).save(tmp_path / "faces")
    # In processes of their own: what hangs in compiled code is not interrupted.
    done = subprocess.run(
        [sys.executable, "-m", "fedfr", *command.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_output_to_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        done = subprocess.run(
            [sys.executable, "-m", "fedfr", "--version"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert (
        done.stderr == "fedfr: cannot write the output: No space left on device; free space, then repeat the command\n"
    )
