"""One person's change of a model, clipped and rounded to integers, and the exact sum over persons.

A person is trained from θ^t alone. The change is a function of that person's images, θ^t and public data only, and its
norm is bounded after all arithmetic, by integers. So one person more or less moves the sum over persons by at most the
bound, whatever the others are. Clipping gradients of persons in a shared batch does not give that: prototypes, mined
negatives and BatchNorm make the others' gradients depend on the person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch

from fedfr.core.errors import FedfrError
from fedfr.privacy.person_dp.mechanism import Mechanism

__all__ = ["PersonSum", "person_change"]

Change = npt.NDArray[np.int32]

# Values at a time: their squares, each below 2⁴⁹, add up in 64 bits.
_BLOCK = 1 << 14
# Factor for the rare case that floating point rounded a norm down and the integers exceed the bound.
_SHRINK = 1 - 2.0**-20


def person_change(
    start: Mapping[str, torch.Tensor], trained: Mapping[str, torch.Tensor], mechanism: Mechanism
) -> Change:
    """Return ``trained`` − ``start`` in units of the mechanism, as integers whose norm is at most its sensitivity.

    ``start`` and ``trained``: the trained parameters by name, without statistics and counters of BatchNorm, which are
    frozen. The values are in the order of ``start``. A change of norm above C − C √d / (2 S) is scaled down to that
    norm, so that rounding to the nearest integers cannot exceed C. A change that is NaN or infinite counts as zero: a
    refusal would tell others about the person.

    Raises :class:`FedfrError` for other names, shapes or numbers of values, for entries that are not floating-point
    numbers, and if ``start`` is not finite.
    """
    _check(start, trained, mechanism)
    squared = sum(float(np.square(block).sum()) for _, block in _differences(start, trained))
    change = np.zeros(mechanism.values, np.int32)
    norm = squared**0.5
    if not np.isfinite(norm):
        return change
    factor = mechanism.steps / mechanism.clip
    allowed = mechanism.steps - mechanism.rounding_error
    if norm * factor > allowed:
        factor = allowed / norm
    while True:
        for place, block in _differences(start, trained):
            change[place : place + len(block)] = np.rint(block * factor)
        if squared_norm(change) <= mechanism.sensitivity**2:
            return change
        factor *= _SHRINK


def squared_norm(change: Change) -> int:
    """Return the exact squared norm of an integer vector with values of at most 2²⁴."""
    return sum(
        int(np.square(change[place : place + _BLOCK], dtype=np.int64).sum()) for place in range(0, len(change), _BLOCK)
    )


def _differences(
    start: Mapping[str, torch.Tensor], trained: Mapping[str, torch.Tensor]
) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """Iterate over the change in blocks of float64, each with the place of its first value."""
    place = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for name, before in start.items():
            old, new = (tensor.detach().reshape(-1) for tensor in (before, trained[name]))
            for first in range(0, len(old), _BLOCK):
                part = slice(first, first + _BLOCK)
                block = (new[part].cpu().to(torch.float64) - old[part].cpu().to(torch.float64)).numpy()
                yield place + first, block
            place += len(old)


def _check(start: Mapping[str, torch.Tensor], trained: Mapping[str, torch.Tensor], mechanism: Mechanism) -> None:
    if start.keys() != trained.keys():
        differing = sorted(start.keys() ^ trained.keys())[:3]
        raise FedfrError(f"a person's change needs the same entries before and after training; {differing} are in one")
    for name, before in start.items():
        after = trained[name]
        if before.shape != after.shape:
            raise FedfrError(f"{name} has shape {tuple(after.shape)} after training and {tuple(before.shape)} before")
        if not (before.is_floating_point() and after.is_floating_point()):
            raise FedfrError(
                f"{name} is of type {after.dtype}; only trained floating-point parameters may be in a change"
            )
        if not torch.isfinite(before).all():
            raise FedfrError(f"the starting model has NaN or infinity in {name}; check the model of this round")
    count = sum(before.numel() for before in start.values())
    if count != mechanism.values:
        raise FedfrError(f"a person's change has {count} values; {mechanism.values} were agreed")


class PersonSum:
    """Exact sum of the changes of a site's persons, before noise. It must not leave the site.

    ``people``: number of persons added; ``empty``: how many of them contributed zero, for instance because their
    training diverged. Both are private. ``most``: largest number of persons; more raise :class:`FedfrError`.
    """

    def __init__(self, mechanism: Mechanism, most: int) -> None:
        self.mechanism = mechanism
        self.most = most
        self.people = self.empty = 0
        self.total = np.zeros(mechanism.values, np.int64)

    def add(self, start: Mapping[str, torch.Tensor], trained: Mapping[str, torch.Tensor]) -> None:
        """Add one person, who was trained from ``start`` alone (:func:`person_change`)."""
        if self.people == self.most:
            raise FedfrError(
                f"a site has more than {self.most} persons; a sum could exceed 32 bits; agree on a larger number"
            )
        change = person_change(start, trained, self.mechanism)
        self.people += 1
        self.empty += not change.any()
        self.total += change

    def digest(self) -> bytes:
        """Return the SHA-256 of the sum, which stays at the site: it confirms a guess of the sum."""
        return hashlib.sha256(self.total.astype("<i8").tobytes()).digest()
