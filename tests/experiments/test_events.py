"""Lines of ``metrics.jsonl``: lines to be repeated and damaged lines are removed, all others kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fedfr.core.errors import FedfrError
from fedfr.experiments.events import Events


def lines(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert all(event.pop("time") > 0 for event in found)
    return found


PRETRAIN = [{"event": "pretrain", "epoch": epoch} for epoch in (1, 2, 3)]
ROUNDS = [{"event": "round", "round": number} for number in (1, 2)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "metrics.jsonl"
    events = Events.of_rounds(path, 0)
    for event in [*PRETRAIN, *ROUNDS]:
        events.append(event)
    return path


def test_a_repeated_round(path: Path) -> None:
    Events.of_rounds(path, 1).append({"event": "round", "round": 2, "again": True})
    assert lines(path) == [*PRETRAIN, ROUNDS[0], {"event": "round", "round": 2, "again": True}]


@pytest.mark.parametrize("finished", [0, 1, 3])
def test_a_repeated_epoch(path: Path, finished: int) -> None:
    Events.of_pretraining(path, finished)
    assert lines(path) == [*PRETRAIN[:finished], *ROUNDS]


@pytest.mark.parametrize("rest", [b'{"event": "round", "rou', b"[1]\n", b"\xff\n", b'{"round": "x"}\n'])
def test_a_damaged_line_is_removed(path: Path, rest: bytes) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + rest)
    Events.of_rounds(path, 9)
    assert path.read_bytes() == whole


def test_a_full_disk() -> None:
    with pytest.raises(FedfrError, match=r"cannot write /proc/run/metrics\.jsonl"):
        Events.of_rounds(Path("/proc/run/metrics.jsonl"), 0).append({"event": "round"})
