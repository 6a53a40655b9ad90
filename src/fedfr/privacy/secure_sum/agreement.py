"""What the sites of a run agree on, what a round sums, and the hashes that bind each stage to all before it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch

from fedfr.core.client_ids import NAME, check_client_ids
from fedfr.core.errors import FedfrError
from fedfr.core.short_repr import Brief
from fedfr.privacy.secure_sum.canonical import Label, Value, canonical, digest

__all__ = [
    "FEWEST_SITES",
    "HASH_BYTES",
    "KEY_BYTES",
    "MOST_SITES",
    "RoundPlan",
    "SumAgreement",
    "SumLayout",
    "SumLostError",
    "check_threshold",
    "hash_model",
    "roster_hash",
    "sharers_hash",
    "smallest_threshold",
    "survivors_hash",
]

HASH_BYTES = KEY_BYTES = 32

FEWEST_SITES = 3
"""Smallest sum: of two vectors, each of the two sites learns the other's."""

MOST_SITES = 200
"""Every site agrees on a key with every other; beyond a few hundred sites other protocols are cheaper."""


class SumLostError(FedfrError):
    """The secure sum of a round cannot be finished; the round is not repeated, and the next has another number."""


def smallest_threshold(sites: int, colluding: int) -> int:
    """Return the smallest threshold that withstands a malicious server with ``colluding`` of the ``sites``.

    Two different lists of survivors both need the signatures of t sites, and both kinds of shares of one site need t
    shares each. Honest sites give one of the two only, colluding ones give both: this is impossible if 2t > n + c.
    """
    return (sites + colluding) // 2 + 1


def check_threshold(threshold: int, sites: int) -> None:
    """Raise :class:`FedfrError` for a threshold with which two groups of the ``sites`` could open two sums."""
    least = smallest_threshold(sites, 0)
    if not least <= threshold <= sites:
        raise FedfrError(
            f"the threshold of a secure sum is {threshold}; it must be {least} to {sites}, the sites: with fewer than "
            f"{least}, a server that deviates from the protocol could have two groups of them open two sums"
        )


@dataclass(frozen=True, repr=False)
class SumAgreement(Brief):
    """Run, sites with their pinned Ed25519 identity keys, and threshold; equal at every site and the coordinator.

    The keys have to be compared through another channel than the coordinator, who could otherwise put its own in
    their place. ``threshold``: the number of sites whose shares recover a secret. Raises :class:`FedfrError` for
    fewer than three sites, equal keys, and as :func:`check_threshold` does.
    """

    run: str
    sites: Mapping[str, bytes]
    threshold: int

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.run):
            raise FedfrError(
                f"run {self.run!r} is not a name; use letters, digits and . _ -, beginning with a letter or digit, at "
                "most 64"
            )
        check_client_ids(self.sites, "site")
        count = len(self.sites)
        if not FEWEST_SITES <= count <= MOST_SITES:
            raise FedfrError(
                f"a secure sum has {FEWEST_SITES} to {MOST_SITES} sites, and {count} were given; a sum of fewer "
                "reveals single updates, of more it is too slow"
            )
        wrong = next((site for site, key in self.sites.items() if len(key) != KEY_BYTES), None)
        if wrong is not None:
            raise FedfrError(
                f"the identity key of {wrong} has {len(self.sites[wrong])} bytes; it must have {KEY_BYTES}"
            )
        if len({*self.sites.values()}) != count:
            raise FedfrError("two sites have the same identity key; every site creates its own")
        check_threshold(self.threshold, count)

    @cached_property
    def digest(self) -> bytes:
        """Hash of the agreement."""
        keys: Value = [[site, self.sites[site]] for site in sorted(self.sites)]
        return digest(Label.AGREEMENT, self.run, self.threshold, keys)

    @property
    def fewest(self) -> int:
        """Smallest number of vectors in a sum."""
        return max(FEWEST_SITES, self.threshold)

    def round_hash(self, plan: RoundPlan) -> bytes:
        """Return the hash of a round under this agreement: stage 1 is bound to it.

        Raises :class:`FedfrError` if the layout is for another number of sites: a sum of all could wrap.
        """
        if plan.layout.sites != len(self.sites):
            raise FedfrError(f"the layout is for {plan.layout.sites} sites and the agreement has {len(self.sites)}")
        return digest(Label.ROUND, self.digest, plan.round, plan.model, plan.layout.digest)


class SumLayout(Protocol):
    """Layout of the vectors of a round: number of values, largest number of sites, and a hash of all it says."""

    @property
    def length(self) -> int:
        """Number of values in a vector."""
        ...

    @property
    def sites(self) -> int:
        """How many sites may be in a sum."""
        ...

    @property
    def digest(self) -> bytes:
        """Hash of the layout."""
        ...


@dataclass(frozen=True, repr=False)
class RoundPlan(Brief):
    """Round, hash of the model that the site received (:func:`hash_model`), and layout of the summed vector.

    A site computes all three itself, from the broadcast and its own configuration.
    """

    round: int
    model: bytes
    layout: SumLayout


def hash_model(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return the hash of a model: of the name, dtype, shape and bytes of every tensor."""
    hashed = hashlib.sha256(canonical(Label.MODEL, len(tensors)))
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        hashed.update(canonical(Label.MODEL, name, str(value.dtype), list(value.shape)))
        # A single value counts as contiguous whatever its stride, but a view as bytes needs a stride of 1.
        hashed.update(value.as_strided((value.numel(),), (1,)).view(torch.uint8).numpy().data)
    return hashed.digest()


def roster_hash(round_hash: bytes, keys: Mapping[str, tuple[bytes, bytes]]) -> bytes:
    """Return the hash of U1: the sites with their box keys and mask keys. Stage 2 is bound to it."""
    return digest(Label.ROSTER, round_hash, [[site, *keys[site]] for site in sorted(keys)])


def sharers_hash(roster: bytes, sites: Iterable[str]) -> bytes:
    """Return the hash of U2, the sites that dealt shares; stage 3 is bound to it."""
    return digest(Label.SHARERS, roster, sorted(sites))


def survivors_hash(sharers: bytes, sites: Iterable[str]) -> bytes:
    """Return the hash of U3, the sites in the sum; stages 4 and 5 are bound to it."""
    return digest(Label.SURVIVORS, sharers, sorted(sites))
