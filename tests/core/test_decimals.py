"""Exact decimal arithmetic of shares: rounding is not affected by binary fractions."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedfr.config.schema import LocalConfig
from fedfr.core.decimals import exact_fraction
from fedfr.evaluation.metrics import exact_product
from fedfr.faces.splits.assignment import held_out_count
from fedfr.federation.local_plan import decay_epoch
from fedfr.federation.server import sample_clients

PER_MILLE = st.integers(1, 1000)
COUNT = st.integers(1, 3000)


@pytest.mark.parametrize(("at", "epochs", "epoch"), [(0.28, 25, 7), (0.07, 100, 7), (0.55, 20, 11), (0.57, 100, 57)])
@pytest.mark.parametrize("rounding", ["up", "down"])
def test_the_epoch_of_decay(at: float, epochs: int, epoch: int, rounding: str) -> None:
    settings = {"epochs": epochs, "decay_at": at, "decay_rounding": rounding}
    assert decay_epoch(LocalConfig.model_validate(settings), 2) == epoch


@given(PER_MILLE, COUNT)
def test_every_share_of_a_count(thousandths: int, count: int) -> None:
    share = thousandths / 1000
    assert exact_fraction(share) * 1000 == thousandths
    assert exact_product(share, count) * 1000 == thousandths * count
    clients = [f"{number:04d}" for number in range(count)]
    assert len(sample_clients(clients, share, 0, 1)) == -(-thousandths * count // 1000)
    if count > 1:
        half_up = (2 * thousandths * count + 1000) // 2000
        assert held_out_count(share)(count) == min(max(half_up, 1), count - 1)


def test_shares_of_very_many_clients() -> None:
    """One client more than a multiple, of more clients than a tolerance of 1e-9 can tell."""
    assert math.ceil(exact_fraction(1e-10) * 10_000_000_001) == 2
