"""Splits of all deals of a benchmark's recipe, and who is in them."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from fedfr.faces import FaceSet, Split, make_split

DEALS = 5
PINS = {"clients": 2, "identities_per_client": 7, "public_identities": 800}


def deals_of(faces: FaceSet, recipe: str, **settings: Any) -> list[Split]:
    """Return the splits of all deals, then the one for choosing settings."""
    every = [{"seed": seed} for seed in range(DEALS)] + [{"seed": 0, "validation": True}]
    return [make_split(faces, recipe, deals=DEALS, **settings, **own) for own in every]


def private_of(split: Split) -> set[str]:
    return {name for client in split.clients for name in split.identities[client]}


def check_disjoint(parts: list[set[str]]) -> None:
    assert all(parts)
    assert not any(one & other for one, other in combinations(parts, 2))
