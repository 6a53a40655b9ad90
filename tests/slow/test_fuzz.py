"""Hundreds of thousands of damaged inputs in bounded memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fuzz.test_messages import rounds
from tests.fuzz.test_readers import read
from tests.support.fuzz.readers import TARGETS

pytestmark = pytest.mark.slow

ROUNDS, CLIENTS = 20, 5_000
INPUTS = 150


def test_a_hundred_thousand_damaged_replies_affect_only_their_clients(tmp_path: Path) -> None:
    refused = 0
    for seed in range(ROUNDS):
        updates = ("full", "bf16", "int8")[seed % 3]
        refused += rounds(tmp_path / str(seed), seed, CLIENTS, updates, direct=True)
    assert refused > 0.8 * ROUNDS * CLIENTS


@pytest.mark.parametrize("name", TARGETS)
def test_many_damaged_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(name, tmp_path, monkeypatch, seed=1, count=INPUTS)
