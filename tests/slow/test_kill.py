"""Runs killed with SIGKILL at random moments give the same bits as an uninterrupted one."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

SETTINGS = [
    "pretrain.epochs=4",
    "federation.rounds=5",
    "local.epochs=1",
    "split.settings.clients=2",
    "split.settings.public_identities=6",
    "split.settings.identities_per_client=3",
    "split.settings.generic_identities=4",
    "baselines=[local]",
    "runtime.threads=1",
]
TIMES = {"seconds", "cpu_seconds", "feature_seconds", "feature_seconds_alone", "peak_rss_bytes", "time"}
# A private state names its identities by a key that every run draws anew.
DRAWN = {"identities", "key"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from fedfr.cli import main; main()", *arguments]


def start(run: Path, workers: int) -> list[str]:
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    return command("train", "quickstart", "--out", str(run), "--workers", str(workers), *options)


def outcome(run: Path) -> dict[str, Any]:
    """All tensors and results, and all metrics except times and memory."""
    found: dict[str, Any] = {}
    for path in sorted(run.rglob("*.safetensors")):
        # The order of a header's entries is not fixed, the bits of the tensors are.
        with safe_open(str(path), "np") as file:
            metadata = sorted(item for item in (file.metadata() or {}).items() if item[0] not in DRAWN)
            tensors = [(name, file.get_tensor(name).tobytes()) for name in sorted(file.keys())]
        found[str(path.relative_to(run))] = (metadata, tensors)
    for path in sorted((run / "evaluation").glob("*.json")):
        found[path.name] = json.loads(path.read_text())
    for path in sorted(run.rglob("metrics.jsonl")):
        events = [json.loads(line) for line in path.read_text().splitlines()]
        found[str(path.relative_to(run))] = [
            {key: value for key, value in event.items() if key not in TIMES} for event in events
        ]
    return found


def processes_of(run: Path) -> list[int]:
    """Return the processes of the run: those with its command line, and their workers."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            names = str((folder / "cwd").readlink())
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if names == str(run.parent) and state != "Z":
            found.append(int(folder.name))
    return found


def run_with_kills(run: Path, workers: int, kills: int, generator: random.Random, whole: float) -> int:
    """Start or resume until the run is finished, killing it ``kills`` times; returns how often a kill hit."""
    hits, arguments = 0, start(run, workers)
    while True:
        process = subprocess.Popen(arguments, cwd=run.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if hits < kills:
            try:
                process.wait(timeout=generator.uniform(0.2, 1.0) * whole / 2)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                hits += 1
                deadline = time.monotonic() + 20
                while processes_of(run) and time.monotonic() < deadline:
                    time.sleep(0.05)
                assert not processes_of(run), "a killed run leaves no worker behind"
                begun = (run / "config.yaml").exists()
                arguments = command("resume", str(run), "--workers", str(workers)) if begun else start(run, workers)
                if not begun:
                    shutil.rmtree(run, ignore_errors=True)
                continue
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors.decode()
        return hits


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path: Path) -> None:
    generator = random.Random(7)
    (tmp_path / "plain").mkdir()
    undisturbed = tmp_path / "plain" / "run"
    begun = time.monotonic()
    subprocess.run(start(undisturbed, 1), check=True, cwd=undisturbed.parent, capture_output=True)
    whole = time.monotonic() - begun
    expected = outcome(undisturbed)
    assert len(expected) > 10

    hits = 0
    for attempt in range(12):
        if hits >= 12:
            break
        folder = tmp_path / f"attempt-{attempt}"
        folder.mkdir()
        workers = 1 + attempt % 2
        hits += run_with_kills(folder / "run", workers, 5, generator, whole)
        found = outcome(folder / "run")
        assert found.keys() == expected.keys()
        different = [name for name in expected if found[name] != expected[name]]
        assert not different, f"{workers} workers, attempt {attempt}"
    assert hits >= 12
