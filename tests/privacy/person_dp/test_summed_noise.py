"""Noised sums inside a secure sum: what server and colluding sites are left with is what the ledgers charged."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.privacy.person_dp.test_accountant import epsilon_by_renyi, no_noise, twice_the_norm
from tests.support.secure_sums import Sums

from fedfr.core.errors import FedfrError
from fedfr.privacy.person_dp import (
    Mechanism,
    NoisedLayout,
    PersonSum,
    choose_mechanism,
    honest_contributors,
    noise_multiplier_for,
    noised_sum,
    open_ledger,
    person_changes,
    release,
    sum_sites,
)
from fedfr.privacy.secure_sum import RoundPlan
from fedfr.privacy.secure_sum.fixed_point import Vector
from fedfr.privacy.secure_sum.stage_messages import Stage

VALUES, SITES, THRESHOLD, COLLUDING, ROUNDS = 8_000, 5, 4, 2, 2
START = {"w": torch.zeros(VALUES)}


def person(seed: int) -> dict[str, torch.Tensor]:
    """A trained model that is far away, so that the change is clipped."""
    return {"w": torch.randn(VALUES, generator=torch.Generator().manual_seed(seed))}


class NoisedSums(Sums):
    """Secure sums of noised sums over two persons at each site, charged in ledgers of the sites."""

    def __init__(self, folder: Path, mechanism: Mechanism) -> None:
        super().__init__(folder, SITES, THRESHOLD)
        self.mechanism = mechanism
        self.noised: dict[str, Vector] = {}
        self.spent = 0.0

    def train(self, number: int) -> dict[str, PersonSum]:
        """A round's sums before noise; the noised ones are charged and kept."""
        people = {name: self.people(number, place) for place, name in enumerate(self.names)}
        for name, total in people.items():
            with open_ledger(self.folder / f"{name}-ledger", epsilon=8.0, delta=1e-5) as ledger:
                self.noised[name] = noised_sum(total, ledger, run="run", round_number=number, model=b"m")
                self.spent = ledger.spent
        return people

    def people(self, number: int, place: int, count: int = 2) -> PersonSum:
        """The sum over the first persons at a site."""
        total = PersonSum(self.mechanism, 2)
        for each in range(count):
            total.add(START, person(100 * number + 10 * place + each))
        return total

    def plan(self, number: int = 1, model: float = 0.0) -> RoundPlan:
        """The round with the layout of noised sums."""
        return replace(super().plan(number, model), layout=NoisedLayout(self.mechanism, SITES, 2))

    def vector(self, name: str) -> Vector:
        """A site's noised sum, to be masked."""
        return self.noised[name].copy()


def signed(vector: Vector | np.ndarray) -> np.ndarray:
    return vector.astype(np.uint32).view(np.int32).astype(np.int64)


def claimed_and_measured(folder: Path, honest: int) -> tuple[float, float, list[tuple[float, float]]]:
    """Return ε of the ledgers, and ε of what the server is left with that knows the noise of the colluding sites.

    And by round, the deviation of the sum's noise divided by the planned one, and the norm by which one person moves
    the sum divided by its bound.

    In every round one site drops out, so that the sum is one of the smallest that are accepted.
    """
    multiplier = noise_multiplier_for(8.0, 1e-5, ROUNDS)
    mechanism = choose_mechanism(
        values=VALUES, clip=1.0, noise_multiplier=multiplier, honest=honest, sites=SITES, people=2 * SITES
    )
    sums, multipliers, ratios = NoisedSums(folder, mechanism), list[float](), list[tuple[float, float]]()
    for number in range(1, ROUNDS + 1):
        people = sums.train(number)
        absent = sums.names[number]
        done = sums.until(None, sums.plan(number), answers=partial(stays, absent))
        assert (len(done.members), absent in done.members) == (THRESHOLD, False)
        assert done.total is not None
        noise = {name: signed(sums.noised[name] - people[name].total.astype(np.uint32)) for name in done.members}
        # No value has wrapped: the sum is that of the integers.
        assert np.array_equal(signed(done.total), sum(noise[name] + people[name].total for name in done.members))
        left = np.sum([noise[name] for name in done.members[COLLUDING:]], axis=0)
        moved = float(np.linalg.norm(people["adam"].total - sums.people(number, 0, count=1).total))
        multipliers.append(float(left.std()) / moved)
        deviation = np.sum([*noise.values()], axis=0).std() / (THRESHOLD * mechanism.site_variance) ** 0.5
        ratios.append((float(deviation), moved / mechanism.steps))
    return sums.spent, epsilon_by_renyi(multipliers), ratios


def stays(absent: str, stage: Stage, name: str) -> bool:
    return (stage, name) != (Stage.MASK, absent)


@pytest.mark.parametrize(
    ("mutant", "honest"),
    [
        (None, honest_contributors(SITES, THRESHOLD, COLLUDING)),
        # Calibrated to all sites, and to the smallest sum without those that collude.
        (None, SITES),
        (None, THRESHOLD),
        ((release, "discrete_gaussian", no_noise), 2),
        ((person_changes, "person_change", twice_the_norm), 2),
    ],
)
def test_the_ledgers_cover_what_server_and_colluding_sites_are_left_with(
    mutant: tuple[object, str, Callable[..., object]] | None,
    honest: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if mutant is not None:
        monkeypatch.setattr(*mutant)
    claimed, measured, ratios = claimed_and_measured(tmp_path, honest)
    assert claimed == pytest.approx(8.0, rel=1e-3)
    assert (measured < 1.15 * claimed) == (mutant is None and honest == 2)
    if mutant is None:
        for deviation, moved in ratios:
            assert deviation == pytest.approx(1, rel=0.03)
            assert 0.99 < moved <= 1
    # More noise than needed is a fault as well.
    assert measured > claimed


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((40, None, None), 14),
        ((40, None, 0), 27),
        ((40, 40, 13), 27),
        ((3, None, None), 2),
        ((3, 2, 0), 3),
        ((4, 3, 1), 2),
        ((5, 4, 3), "a threshold of 4 among 5 sites, 3 of which collude with the server, lets .* must be 5 to 5"),
        ((40, 20, 0), "a threshold of 20 among 40 sites, 0 of which collude"),
        ((3, None, 3), "3 of 3 sites collude with the server; give 0 to 2"),
        ((3, 4, 0), "the threshold must be 2 to 3, or fewer sites collude"),
    ],
)
def test_honest_contributors_are_the_smallest_sum_without_those_that_collude(
    given: tuple[int, int | None, int | None], expected: int | str
) -> None:
    if isinstance(expected, int):
        assert honest_contributors(*sum_sites(*given)) == expected
        return
    with pytest.raises(FedfrError, match=expected):
        honest_contributors(*sum_sites(*given))


def test_sites_with_other_mechanisms_share_no_mask_and_sums_that_could_wrap_are_refused() -> None:
    layout = NoisedLayout(Mechanism(10, 1.0, 1000, 64, 2), 3, 5)
    others: dict[str, float] = {"values": 11, "clip": 2.0, "steps": 999, "site_variance": 65, "honest": 1}
    changed = [replace(layout.mechanism, **{name: other}) for name, other in others.items()]  # type: ignore[arg-type]
    digests = {replace(layout, mechanism=mechanism).digest for mechanism in changed}
    digests |= {layout.digest, replace(layout, sites=4).digest, replace(layout, people=6).digest}
    assert len(digests) == 8
    with pytest.raises(FedfrError, match=re.escape("a sum over 3000000 persons at 3 sites can reach 3000000")):
        replace(layout, people=1_000_000)
