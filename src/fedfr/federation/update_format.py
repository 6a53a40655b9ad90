"""Formats of a client's update: full tensors, or their changes compressed to fewer bits.

The client keeps the compression error and adds it to its next change (error feedback: Seide et al., Interspeech 2014;
Karimireddy et al., ICML 2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch.nn import functional

from fedfr.core.errors import FedfrError
from fedfr.federation.messages import PROTOTYPES, Broadcast, Update, tensors_by_name

__all__ = ["BLOCK", "SMALL", "Compressed", "compress", "restore"]

SMALL = 1024
"""Tensors with fewer values are sent uncompressed: a few percent of the bytes, BatchNorm's statistics among them."""

BLOCK = 256
"""Number of values that share a scale; small blocks limit the effect of outliers (Dettmers et al., ICLR 2022,
block-wise quantization)."""

LEVELS = 127
_LARGEST = torch.tensor(torch.finfo(torch.float32).max)
# Rounded down: the scale of the largest number, rounded up, would overflow when multiplied by 127.
_LARGEST_SCALE = float(torch.nextafter(_LARGEST / LEVELS, torch.tensor(0.0)))

Tensors = Mapping[str, torch.Tensor]


class ChangeCodec(Protocol):
    """Compression of changes; float32 in and out."""

    dtype: torch.dtype

    def encode(self, change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the change as ``dtype``, of the same shape, and the scales of its blocks, if any."""
        ...

    def decode(self, code: torch.Tensor, scales: torch.Tensor | None) -> torch.Tensor:
        """Invert :meth:`encode` up to the compression error."""
        ...

    def scales(self, values: int) -> int:
        """Return the number of scales for that many values."""
        ...


class _Bfloat16:
    """Compression to bfloat16: half the bytes; the error is up to 1/256 of each value's change."""

    dtype = torch.bfloat16

    def encode(self, change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        # Values that would be rounded beyond the largest bf16 would become infinite.
        largest = torch.finfo(torch.bfloat16).max
        return change.clamp(-largest, largest).to(torch.bfloat16), None

    def decode(self, code: torch.Tensor, scales: torch.Tensor | None) -> torch.Tensor:
        return code.to(torch.float32)

    def scales(self, values: int) -> int:
        return 0


class _Int8:
    """Compression to int8: a quarter of the bytes plus 1/64; errors up to 1/254 of the largest change in a block."""

    dtype = torch.int8

    def encode(self, change: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        blocks = _blocks(change)
        largest = blocks.abs().amax(dim=1)
        scales = (largest / LEVELS).clamp_(max=_LARGEST_SCALE)
        # For the smallest numbers the quotient is rounded so much that the largest value would no longer fit.
        scales = torch.where(largest / scales >= LEVELS + 0.5, torch.nextafter(scales, largest), scales)
        # In an unchanged block every value is 0, whatever the divisor.
        code = (blocks / torch.where(scales > 0, scales, 1.0)[:, None]).round_().to(torch.int8)
        return code.reshape(-1)[: change.numel()].view(change.shape), scales

    def decode(self, code: torch.Tensor, scales: torch.Tensor | None) -> torch.Tensor:
        assert scales is not None
        blocks = _blocks(code.to(torch.float32)) * scales[:, None]
        return blocks.reshape(-1)[: code.numel()].view(code.shape)

    def scales(self, values: int) -> int:
        return -(-values // BLOCK)


CODECS: Mapping[str, ChangeCodec | None] = {"full": None, "bf16": _Bfloat16(), "int8": _Int8()}
"""Compression by the value of the setting ``federation.updates``."""


def _blocks(values: torch.Tensor) -> torch.Tensor:
    flat = values.reshape(-1)
    return functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)


def _is_compressed(value: torch.Tensor) -> bool:
    """Return whether a tensor's change is sent in place of the tensor."""
    return value.dtype == torch.float32 and value.numel() >= SMALL


@dataclass(frozen=True)
class Compressed:
    """Compressed update, and ``residual``: the compression error by name, for the client to keep."""

    update: Update
    residual: Mapping[str, torch.Tensor]


def compress(update: Update, broadcast: Broadcast, kind: str, residual: Tensors) -> Compressed:
    """Replace an update's tensors by their compressed change from the broadcast plus the previous ``residual``.

    Public prototypes are compressed as well; small tensors, integers and revealed identities are not. Entries that are
    not in this update keep their residual.
    """
    code = CODECS[kind]
    if code is None:
        return Compressed(update, {})
    before, tensors, scales, left = (
        tensors_by_name(broadcast),
        tensors_by_name(update),
        dict[str, torch.Tensor](),
        dict(residual),
    )
    for name, value in tensors.items():
        if not _is_compressed(value):
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
    """Invert :func:`compress` up to the compression error.

    Wrong names are left to the server's check. Raises :class:`FedfrError` naming client and field for another dtype or
    shape, and for scales that are missing, unexpected, negative or not finite.
    """
    code = CODECS[kind]
    who = f"update of {update.client} for round {update.round} refused"
    before, tensors, scales = tensors_by_name(broadcast), tensors_by_name(update), dict(update.scales)
    for name, carried in tensors.items():
        if code is None or name not in before or not _is_compressed(before[name]):
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
        unknown = [name[:60] for name in sorted(scales)[:3]]
        raise FedfrError(f"{who}: scales of {unknown} belong to no compressed tensor (federation.updates = {kind!r})")
    prototypes = tensors.pop(PROTOTYPES, None)
    return replace(update, weights=tensors, prototypes=prototypes, scales={})


def _check_scales(what: str, scales: torch.Tensor | None, count: int) -> None:
    if count == 0 and scales is None:
        return
    if scales is None or scales.dtype != torch.float32 or scales.shape != (count,):
        description = "missing" if scales is None else f"{scales.dtype} of shape {tuple(scales.shape)}"
        raise FedfrError(f"{what} are {description}, expected {count} of {torch.float32}")
    if not bool((torch.isfinite(scales) & (scales >= 0)).all()):
        raise FedfrError(f"{what} hold a negative or non-finite number")
