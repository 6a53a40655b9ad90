"""A killed extraction of IJB features continues and gives the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.support.ijb_set import make_ijb

from fedfr.models import BACKBONES, build_backbone
from fedfr.models.checkpoint import Contract, embedding_space, save_model
from fedfr.training.feature_blocks import FEATURE_BLOCK

pytestmark = pytest.mark.slow


def process(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from fedfr.cli import main; main()", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, encoding="utf-8", env=environment, **pipes)  # type: ignore[call-overload, no-any-return]


def content(folder: Path) -> dict[str, bytes]:
    """The bits of every block."""
    found = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as block:
            found[path.name] = block["features"].tobytes()
    return found


def test_a_killed_extraction_ends_with_the_same_bits(tmp_path: Path) -> None:
    made = make_ijb(tmp_path / "IJBC", subjects=30, probes=28)
    assert FEATURE_BLOCK < len(made.images) < 2 * FEATURE_BLOCK
    state, spec = build_backbone("slimface-small", 5).state_dict(), BACKBONES["slimface-small"]
    model = tmp_path / "slimface.safetensors"
    save_model(model, state, Contract("slimface-small", spec.embedding_dim, spec.preprocessing, embedding_space(state)))
    command = ("evaluate", model, "--faces", made.folder, "--json", "--features")

    killed = process(*command, tmp_path / "killed")
    first = tmp_path / "killed" / "000000.npz"
    assert killed.stderr is not None
    # Said when the first block is on disk and the second is not yet.
    assert any(line.startswith(f"features: {FEATURE_BLOCK}/") for line in killed.stderr)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert sorted(path.name for path in first.parent.glob("*.npz")) == ["000000.npz"]
    kept = first.stat()

    again, whole = (process(*command, tmp_path / name) for name in ("killed", "whole"))
    answers = [each.communicate()[0] for each in (again, whole)]
    assert [each.returncode for each in (again, whole)] == [0, 0]
    assert first.stat().st_mtime_ns == kept.st_mtime_ns
    assert list(content(tmp_path / "whole")) == ["000000.npz", "000001.npz"]
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert json.loads(answers[0]) == json.loads(answers[1])
    assert len(json.loads(answers[0])) > 30
