"""The ledger: nothing leaves uncharged, the same noise again after a kill, none twice for different sums."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.kill_steps import contents, found_in, killed_at_every_step

from fedfr.core.errors import FedfrError, InUseError
from fedfr.core.files import write_atomically
from fedfr.privacy.person_dp import (
    Ledger,
    Mechanism,
    PersonSum,
    choose_mechanism,
    noise_multiplier_for,
    noised_sum,
    open_ledger,
)

START = {"w": torch.zeros(64)}
MULTIPLIER = noise_multiplier_for(8.0, 1e-5, 3)
SHARED = choose_mechanism(values=64, clip=1.0, noise_multiplier=MULTIPLIER, honest=2, sites=3, people=4)
OWN = choose_mechanism(values=64, clip=1.0, noise_multiplier=MULTIPLIER, honest=1, sites=3, people=4)


def people(mechanism: Mechanism, seed: int = 0) -> PersonSum:
    total = PersonSum(mechanism, 4)
    for person in range(2):
        generator = torch.Generator().manual_seed(10 * seed + person)
        total.add(START, {"w": torch.randn(64, generator=generator)})
    return total


@contextmanager
def opened(folder: Path) -> Iterator[Ledger]:
    with open_ledger(folder, epsilon=8.0, delta=1e-5) as ledger:
        yield ledger


def released(
    ledger: Ledger, number: int = 1, seed: int = 0, mechanism: Mechanism = SHARED, model: bytes = b"m"
) -> bytes:
    return noised_sum(people(mechanism, seed), ledger, run="run", round_number=number, model=model).tobytes()


def site_round(folder: Path) -> None:
    """One round of a site: charge, send, and, once the server has accepted, accept."""
    with opened(folder / "ledger") as ledger:
        if not (folder / "sent").exists():
            write_atomically(folder / "sent", released(ledger))
        ledger.accept("run", 1)


def test_killed_at_every_step_nothing_is_uncharged_and_noise_is_replayed(tmp_path: Path) -> None:
    work = tmp_path / "work"
    with opened(tmp_path / "warm") as ledger:
        released(ledger)
    replayed = resent = 0
    for _ in killed_at_every_step(lambda: shutil.rmtree(work, ignore_errors=True), lambda: site_round(work)):
        sent = (work / "sent").read_bytes() if (work / "sent").exists() else None
        with opened(work / "ledger") as ledger:
            assert sent is None or len(ledger.releases) == 1
            charged = ledger.releases
            again = released(ledger) if sent is None else sent
            assert len(ledger.releases) == 1
            replayed += sent is None and charged != []
            resent += sent is not None
        site_round(work)
        assert (work / "sent").read_bytes() == again
        assert not any((work / "ledger" / "seeds").iterdir())
    assert replayed > 2
    assert resent > 3


def test_erased_seeds_are_in_no_file(tmp_path: Path) -> None:
    """A process killed while it erases leaves nothing that the next opening does not erase."""
    work, whole = tmp_path / "work", tmp_path / "whole"
    with opened(whole) as ledger:
        released(ledger)
    seeds = {"seed": next((whole / "seeds").iterdir()).read_bytes()}

    def accept() -> None:
        with opened(work) as ledger:
            ledger.accept("run", 1)

    def prepare() -> None:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(whole, work)

    steps = 0
    for _ in killed_at_every_step(prepare, accept):
        accept()
        assert found_in(work, seeds) == []
        steps += 1
    assert steps > 4


def test_the_budget_is_never_exceeded(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        for number in (1, 2, 3):
            released(ledger, number, seed=number)
        assert 7.999 < ledger.spent <= 8
        before = contents(tmp_path)
        with pytest.raises(FedfrError, match=r"round 4 of run would raise ε from 8 to 9\.53.* the budget of .* is 8"):
            released(ledger, 4)
        assert contents(tmp_path) == before
    with opened(tmp_path) as ledger, pytest.raises(FedfrError, match="would raise ε"):
        noised_sum(people(SHARED), ledger, run="another run", round_number=1, model=b"m")


def test_the_same_sum_is_sent_again_without_a_charge(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        first = released(ledger)
    with opened(tmp_path) as ledger:
        assert released(ledger) == first
        assert len(ledger.releases) == 1


@pytest.mark.parametrize("change", [{"seed": 1}, {"model": b"other"}])
def test_another_sum_in_a_round_with_shared_noise_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        released(ledger)
        for accepted in (False, True):
            if accepted:
                ledger.accept("run", 1)
            with pytest.raises(FedfrError, match=r"was already charged in .* with another sum or model"):
                released(ledger, **change)  # type: ignore[arg-type]
        released(ledger, number=2, **change)  # type: ignore[arg-type]


def test_another_sum_with_a_sites_own_noise_is_charged_and_its_noise_is_independent(tmp_path: Path) -> None:
    """Equal noise on two sums would give their difference away."""
    with opened(tmp_path) as ledger:
        sums = [people(OWN), people(OWN, seed=1)]
        vectors = [noised_sum(each, ledger, run="run", round_number=1, model=b"m") for each in sums]
        assert len(ledger.releases) == 2
        first, second = (
            (vector - each.total.astype(np.uint32)).view(np.int32).astype(np.float64)
            for vector, each in zip(vectors, sums, strict=True)
        )
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.5
        # Accepted: the seed is gone, and the same sum has other noise and another charge.
        ledger.accept("run", 1)
        again = noised_sum(sums[0], ledger, run="run", round_number=1, model=b"m")
        assert len(ledger.releases) == 3
        assert (again != vectors[0]).any()


def test_the_noise_depends_on_everything_that_is_sent(tmp_path: Path) -> None:
    other = dataclasses.replace(OWN, site_variance=OWN.site_variance + 1)
    with opened(tmp_path) as ledger:
        released(ledger, mechanism=OWN)
        released(ledger, mechanism=other)
        assert len(ledger.releases) == 2


def test_a_lost_seed_is_not_replaced(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        released(ledger)
        next((tmp_path / "seeds").iterdir()).unlink()
        with pytest.raises(FedfrError, match="was already charged"):
            released(ledger)


def test_is_used_by_one_process_with_one_budget(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        released(ledger)
        with pytest.raises(InUseError, match="another process is working on"), opened(tmp_path):
            pass
    with (
        pytest.raises(FedfrError, match=r"has the budget ε = 8, δ = 1e-05; given are ε = 9"),
        open_ledger(tmp_path, epsilon=9.0, delta=1e-5),
    ):
        pass


def test_seeds_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        released(ledger)
        (seed,) = (tmp_path / "seeds").iterdir()
        assert seed.stat().st_mode & 0o777 == 0o600
        assert found_in(tmp_path, {"seed": seed.read_bytes()}) == [("seed", "seeds/000000.seed")]
