"""How a client's update travels: its tensors as they are, or how far they moved, in fewer bits.

A change in few bits loses something. The client keeps what was lost and adds it to its next change (error feedback:
Seide et al., Interspeech 2014; Karimireddy et al., ICML 2019), so that nothing is lost for good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch.nn import functional

from fedfr.core.errors import FedfrError
from fedfr.federation.messages import PROTOTYPES, Broadcast, Update, named

__all__ = ["BLOCK", "SMALL", "Compressed", "compress", "restore"]

SMALL = 1024
"""Tensors with fewer values travel as they are: together a few percent, and BatchNorm's statistics are among them."""

BLOCK = 256
"""Values that share a scale: one that is far larger than its neighbours makes few of them coarse (Dettmers et al.,
ICLR 2022, block-wise quantization)."""

LEVELS = 127
_LARGEST = torch.tensor(torch.finfo(torch.float32).max)
# Rounded up, the largest number's scale times 127 would be infinite.
_LARGEST_SCALE = float(torch.nextafter(_LARGEST / LEVELS, torch.tensor(0.0)))

Tensors = Mapping[str, torch.Tensor]


class Code(Protocol):
    """Changes in fewer bits; float32 in and out."""

    dtype: torch.dtype

    def encode(self, change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The change as ``dtype``, of the same shape, and a scale for each block where there are scales."""
        ...

    def decode(self, code: torch.Tensor, scales: torch.Tensor | None) -> torch.Tensor:
        """What :meth:`encode` was given, but for what it lost."""
        ...

    def scales(self, values: int) -> int:
        """How many scales that many values have."""
        ...


class _Bfloat16:
    """Half the bytes; an error of up to 1/256 of each value's change."""

    dtype = torch.bfloat16

    def encode(self, change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        # What is nearer to the next power of two than to the largest bf16 would become infinite.
        largest = torch.finfo(torch.bfloat16).max
        return change.clamp(-largest, largest).to(torch.bfloat16), None

    def decode(self, code: torch.Tensor, scales: torch.Tensor | None) -> torch.Tensor:
        return code.to(torch.float32)

    def scales(self, values: int) -> int:
        return 0


class _Int8:
    """A quarter of the bytes and 1/64 for the scales; an error of up to 1/254 of the largest change in the block."""

    dtype = torch.int8

    def encode(self, change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        blocks = _blocks(change)
        largest = blocks.abs().amax(dim=1)
        scales = (largest / LEVELS).clamp_(max=_LARGEST_SCALE)
        # Among the smallest numbers the quotient is rounded by so much that the largest value would not fit any more.
        scales = torch.where(largest / scales > LEVELS + 0.5, torch.nextafter(scales, largest), scales)
        # In a block that did not move every value is 0, whatever it is divided by.
        code = (blocks / torch.where(scales > 0, scales, 1.0)[:, None]).round_().to(torch.int8)
        return code.reshape(-1)[: change.numel()].view(change.shape), scales

    def decode(self, code: torch.Tensor, scales: torch.Tensor | None) -> torch.Tensor:
        assert scales is not None
        blocks = _blocks(code.to(torch.float32)) * scales[:, None]
        return blocks.reshape(-1)[: code.numel()].view(code.shape)

    def scales(self, values: int) -> int:
        return -(-values // BLOCK)


CODES: Mapping[str, Code | None] = {"full": None, "bf16": _Bfloat16(), "int8": _Int8()}
"""By the setting ``federation.updates``."""


def _blocks(values: torch.Tensor) -> torch.Tensor:
    flat = values.reshape(-1)
    return functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)


def _moves(value: torch.Tensor) -> bool:
    """Whether a tensor's change travels in its place."""
    return value.dtype == torch.float32 and value.numel() >= SMALL


@dataclass(frozen=True)
class Compressed:
    """An update as it travels, and ``rest``: by name, what of the changes did not fit, for the client to keep."""

    update: Update
    rest: Mapping[str, torch.Tensor]


def compress(update: Update, broadcast: Broadcast, kind: str, rest: Tensors) -> Compressed:
    """Put in the place of an update's tensors how far they moved from the broadcast, and what ``rest`` is owed.

    Public prototypes as well; small tensors, integers and revealed identities travel as they are. What is not in this
    update keeps its rest.
    """
    code = CODES[kind]
    if code is None:
        return Compressed(update, {})
    before, tensors, scales, left = named(broadcast), named(update), dict[str, torch.Tensor](), dict(rest)
    for name, value in tensors.items():
        if not _moves(value):
            continue
        change = value - before[name]
        if name in left:
            change += left[name]
        tensors[name], own = code.encode(change)
        if own is not None:
            scales[name] = own
        left[name] = change - code.decode(tensors[name], own)
    prototypes = tensors.pop(PROTOTYPES, None)
    return Compressed(replace(update, weights=tensors, prototypes=prototypes, scales=scales), left)


def restore(update: Update, broadcast: Broadcast, kind: str) -> Update:
    """The update that :func:`compress` was given, but for what did not fit: what the client believes it sent.

    What has the wrong name is left for the server's check. Raises :class:`FedfrError` naming client and field for
    another type or shape, and for scales that are missing, too many, or no finite numbers from 0.
    """
    code = CODES[kind]
    who = f"update of {update.client} for round {update.round} refused"
    before, tensors, scales = named(broadcast), named(update), dict(update.scales)
    for name, carried in tensors.items():
        if code is None or name not in before or not _moves(before[name]):
            continue
        wanted = before[name]
        if carried.dtype != code.dtype or carried.shape != wanted.shape:
            raise FedfrError(
                f"{who}: {name} is {carried.dtype} of shape {tuple(carried.shape)}, expected a change as {code.dtype} "
                f"of shape {tuple(wanted.shape)} (federation.updates = {kind!r})"
            )
        own = scales.pop(name, None)
        _check_scales(f"{who}: the scales of {name}", own, code.scales(wanted.numel()))
        tensors[name] = wanted + code.decode(carried, own)
    if scales:
        strange = [name[:60] for name in sorted(scales)[:3]]
        raise FedfrError(f"{who}: scales of {strange} belong to nothing (federation.updates = {kind!r})")
    prototypes = tensors.pop(PROTOTYPES, None)
    return replace(update, weights=tensors, prototypes=prototypes, scales={})


def _check_scales(what: str, scales: torch.Tensor | None, count: int) -> None:
    if count == 0 and scales is None:
        return
    if scales is None or scales.dtype != torch.float32 or scales.shape != (count,):
        found = "missing" if scales is None else f"{scales.dtype} of shape {tuple(scales.shape)}"
        raise FedfrError(f"{what} are {found}, expected {count} of {torch.float32}")
    if not bool((torch.isfinite(scales) & (scales >= 0)).all()):
        raise FedfrError(f"{what} hold a number that is not finite, or below 0")
