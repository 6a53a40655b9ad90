"""Updates as vectors of integers modulo 2³², clipped and scaled so that a sum of all sites cannot wrap.

A site encodes n·Δ, its number of images times its change of each entry, and n itself. Every entry has a range R, agreed
before the run: a change beyond ±R is clipped. A value is round(n·Δ · B / (N·R)), where N is the largest allowed number
of images and B = ⌊(2³¹ − 1) / sites⌋. No honest site exceeds B in absolute value, so the sum of all fits into 32 bits
with its sign. Integer sums do not depend on the order of the sites. The rounding error of a mean is at most
R · N / (2 B n̄), n̄ being the mean number of images.

With a norm C, agreed as well, a site first scales the changes of all entries that are clipped so that their common
Euclidean norm is at most C. Their mean then has a norm of at most C too, which the sum is checked for.

Integer entries, such as BatchNorm's counters, are not summed: they stay at the site. Running statistics need a range
of their own, because they do not move in small steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from fedfr.core.errors import FedfrError
from fedfr.core.short_repr import Brief
from fedfr.privacy.secure_sum.canonical import Label, Value, digest, float_bytes
from fedfr.training.finite import first_not_finite

__all__ = ["RING_BITS", "Entry", "Layout", "Vector", "decode_sum", "encode_update"]

RING_BITS = 32
Vector = npt.NDArray[np.uint32]
"""Values modulo 2³²; a value from 2³¹ on is negative."""

# Values that are encoded at a time: bounds what is needed beside the vector.
_BLOCK = 1 << 18
_LARGEST = (1 << (RING_BITS - 1)) - 1


@dataclass(frozen=True)
class Entry:
    """One tensor of an update: name, shape and range, the largest change of one value.

    ``in_norm``: whether its change counts in the norm to which a layout clips.
    """

    name: str
    shape: tuple[int, ...]
    largest: float
    in_norm: bool = True

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True, repr=False)
class Layout(Brief):
    """Layout of the summed vector: the number of images, then the entries in the given order.

    ``sites``: how many may be in a sum; ``largest_count``: the largest number of images of one site; ``clip_norm``: the
    largest Euclidean norm of a site's change, None for any. Raises :class:`FedfrError` for a repeated name, a range
    that is not positive and finite, and counts that could wrap.
    """

    entries: tuple[Entry, ...]
    sites: int
    largest_count: int
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        names = [entry.name for entry in self.entries]
        if len({*names}) != len(names):
            raise FedfrError("a secure sum has two entries of the same name; give each its own")
        for entry in self.entries:
            if not (math.isfinite(entry.largest) and entry.largest > 0):
                raise FedfrError(f"the range of {entry.name} is {entry.largest:g}; it must be positive and finite")
        if self.sites < 1 or not 1 <= self.largest_count <= self.bound:
            raise FedfrError(
                f"the largest number of images is {self.largest_count}; a secure sum of {self.sites} sites allows 1 to "
                f"{_LARGEST // max(self.sites, 1)}"
            )

    @property
    def bound(self) -> int:
        """Largest absolute value that one site encodes."""
        return _LARGEST // self.sites

    @property
    def length(self) -> int:
        """Number of values in a vector."""
        return 1 + sum(entry.size for entry in self.entries)

    @cached_property
    def digest(self) -> bytes:
        """Hash of the layout."""
        entries: Value = [[entry.name, entry.shape, float_bytes(entry.largest)] for entry in self.entries]
        if self.clip_norm is None:
            return digest(Label.LAYOUT, self.sites, self.largest_count, entries)
        clipped = [entry.name for entry in self.entries if entry.in_norm]
        return digest(Label.LAYOUT, self.sites, self.largest_count, entries, float_bytes(self.clip_norm), clipped)

    def step(self, entry: Entry) -> float:
        """Return the value of n·Δ that one unit of the ring stands for."""
        return self.largest_count * entry.largest / self.bound


def encode_update(layout: Layout, changes: Mapping[str, torch.Tensor], count: int) -> Vector:
    """Return ``count`` and the changes times ``count`` as a new vector, clipped to the layout's norm and ranges.

    Raises :class:`FedfrError` for other names or shapes than the layout's, for a count that is not allowed, and for
    NaN or infinity.
    """
    if not 1 <= count <= layout.largest_count:
        raise FedfrError(
            f"the update is from {count} images; 1 to {layout.largest_count} are allowed; raise "
            "federation.largest_count at every site"
        )
    expected = {entry.name: entry.shape for entry in layout.entries}
    found = {name: tuple(change.shape) for name, change in changes.items()}
    if found != expected:
        wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise FedfrError(f"the update does not have the layout of the secure sum: {wrong[:3]} differ")
    broken = first_not_finite(changes)
    if broken is not None:
        raise FedfrError(f"the change of {broken} is NaN or infinite; training diverged, lower the learning rate")
    factor = 1.0
    if layout.clip_norm is not None:
        norm = _norm(block for entry in layout.entries if entry.in_norm for _, block in _blocks(changes[entry.name]))
        factor = layout.clip_norm / max(norm, layout.clip_norm)
    vector = np.empty(layout.length, np.uint32)
    vector[0] = count
    signed, at = vector.view(np.int32), 1
    for entry in layout.entries:
        for start, block in _blocks(changes[entry.name]):
            if entry.in_norm and factor < 1:
                np.multiply(block, factor, out=block)
            np.clip(block, -entry.largest, entry.largest, out=block)
            np.multiply(block, count / layout.step(entry), out=block)
            np.rint(block, out=block)
            signed[at + start : at + start + len(block)] = block
        at += entry.size
    return vector


def decode_sum(layout: Layout, total: Vector, members: int) -> tuple[int, dict[str, torch.Tensor]]:
    """Return the number of images of all ``members``, and the mean of their changes, weighted by images.

    Raises :class:`FedfrError` if the sum holds what that many honest sites cannot have sent: some site sent values out
    of range or beyond the norm, or not all had the same model. A site that stays within the limits, or wraps the ring
    exactly, is not detected.
    """
    count = int(total[0])
    within = members <= count <= members * layout.largest_count
    signed, bound = total.view(np.int32)[1:], members * layout.bound
    if not within or (len(signed) and not -bound <= int(signed.min()) <= int(signed.max()) <= bound):
        raise FedfrError(
            f"the secure sum of {members} sites holds values that they cannot have sent within the agreed ranges; a "
            "site is faulty, or the sites did not all receive the same model; the round is lost"
        )
    means, at = dict[str, torch.Tensor](), 0
    for entry in layout.entries:
        mean = np.empty(entry.size, np.float32)
        for start in range(0, entry.size, _BLOCK):
            block = signed[at + start : at + min(start + _BLOCK, entry.size)]
            mean[start : start + len(block)] = block * (layout.step(entry) / count)
        means[entry.name] = torch.from_numpy(mean).view(entry.shape)
        at += entry.size
    if layout.clip_norm is not None:
        _check_norm(layout, means, members / count)
    return count, means


def _check_norm(layout: Layout, means: Mapping[str, torch.Tensor], share: float) -> None:
    """Refuse a mean that is longer than clipped changes can be; ``share``: members per image."""
    clipped = [entry for entry in layout.entries if entry.in_norm]
    norm = _norm(block for entry in clipped for _, block in _blocks(means[entry.name]))
    # Half a unit of every member in every value, and the roundings of float32.
    rounding = share / 2 * math.sqrt(sum(entry.size * layout.step(entry) ** 2 for entry in clipped))
    assert layout.clip_norm is not None
    if norm > layout.clip_norm * (1 + 2.0**-20) + rounding:
        raise FedfrError(
            f"the secure sum moves the model by {norm:.4g} in norm, and each site is allowed {layout.clip_norm:g} "
            "(federation.clip_norm); a site is faulty; the round is lost"
        )


def _blocks(change: torch.Tensor) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
    """Yield copies of the values in blocks, each with the place of its first value."""
    values = change.detach().cpu().contiguous().to(torch.float32).reshape(-1).numpy()
    for start in range(0, len(values), _BLOCK):
        yield start, values[start : start + _BLOCK].astype(np.float64)


def _norm(blocks: Iterable[npt.NDArray[np.float64]]) -> float:
    """Return the Euclidean norm of all blocks together."""
    # NumPy's sums are pairwise and of one thread.
    return math.sqrt(math.fsum(float(np.square(block, out=block).sum()) for block in blocks))
