"""Disjoint deals: equal parts of pools of identities, one for each seed and one for choosing settings."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fedfr.core.errors import FedfrError
from fedfr.faces.splits.assignment import check_available, check_minimum

__all__ = ["Deal", "in_fixed_order"]

ORDER = 100
"""Seed of the order of all pools, the same for every deal."""


def in_fixed_order(labels: Iterable[int]) -> list[int]:
    """Return the labels shuffled in an order that depends on no setting."""
    shuffled = list(labels)
    random.Random(ORDER).shuffle(shuffled)
    return shuffled


@dataclass(frozen=True)
class Deal:
    """Position of a split among ``deals`` disjoint ones: ``number`` is its seed, or ``deals`` for validation."""

    deals: int
    number: int

    @classmethod
    def of(cls, deals: int, seed: int, validation: bool) -> Deal:
        """Return the deal of a seed, or the one for choosing settings; raises :class:`FedfrError` if there is none."""
        check_minimum(1, deals=deals)
        if not 0 <= seed < deals:
            allowed = "0" if deals == 1 else f"a whole number from 0 to {deals - 1}"
            raise FedfrError(f"split setting seed = {seed}: there is no such deal with deals = {deals}; give {allowed}")
        return cls(deals, deals if validation else seed)

    @property
    def parts(self) -> int:
        """Number of equal parts of each pool: one for each deal and one for validation."""
        return self.deals + 1

    @property
    def following(self) -> Deal | None:
        """The deal whose private identities are unseen in this one; None for validation and for a single deal."""
        if self.deals in (self.number, 1):
            return None
        return Deal(self.deals, (self.number + 1) % self.deals)

    def part(self, pool: Sequence[int], wanted: int | None, what: str, settings: str = "") -> list[int]:
        """Return the first ``wanted`` identities of this deal's part of a pool in fixed order, all of them for None.

        Raises :class:`FedfrError` if a part has fewer, or none although the pool has identities; ``what`` describes the
        pool, ``settings`` names settings to lower apart from the number of deals.
        """
        size = len(pool) // self.parts
        if wanted is None and pool and not size:
            wanted = 1
        described = f"{what} in each of {self.parts} equal parts (deals and validation)"
        check_available(wanted or 0, size, described, f"{settings} or deals" if settings else "deals")
        own = list(pool[self.number * size : (self.number + 1) * size])
        return own[:wanted]
