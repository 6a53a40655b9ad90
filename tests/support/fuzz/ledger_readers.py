"""Targets that read ledgers of differential privacy."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.support.fuzz.targets import Target

from fedfr.privacy.person_dp import Mechanism, PersonSum, noised_sum, open_ledger

__all__ = ["TARGETS"]

_START = {"w": torch.zeros(5)}


def _read(folder: Path) -> None:
    with open_ledger(folder / "ledger", epsilon=8.0, delta=1e-5) as ledger:
        people = PersonSum(Mechanism(5, 1.0, 1 << 10, 1 << 24, 2), 2)
        people.add(_START, {"w": torch.ones(5)})
        noised_sum(people, ledger, run="run", round_number=1, model=b"model")


def _make(folder: Path) -> None:
    _read(folder)
    (folder / "ledger" / ".lock").unlink()


TARGETS = {"person ledger": Target(("privacy.person_dp.ledger", "core.secret_files"), _make, _read, only="*.*")}
