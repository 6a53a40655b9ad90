"""Damaged input by the hundred thousand, in bounded memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fuzz.test_messages import rounds

pytestmark = pytest.mark.slow

ROUNDS, CLIENTS = 20, 5_000


def test_a_hundred_thousand_damaged_answers_cost_their_clients_alone(tmp_path: Path) -> None:
    refused = 0
    for seed in range(ROUNDS):
        updates = ("full", "bf16", "int8")[seed % 3]
        refused += rounds(tmp_path / str(seed), seed, CLIENTS, updates, direct=True)
    assert refused > 0.8 * ROUNDS * CLIENTS
