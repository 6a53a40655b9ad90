"""Admission checks for client updates, and their streaming weighted average."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self

import torch

from fedfr.core.errors import FedfrError
from fedfr.federation.messages import Update, tensors_by_name
from fedfr.training.finite import first_not_finite, is_finite

__all__ = ["Aggregate", "ChangeLimit", "StreamingAverage", "check_update"]

# Values that are compared at a time: the largest entry may hold a quarter of a model.
_BLOCK = 1 << 18
# Metrics of many clients and rounds are summed; the sum must stay finite.
LARGEST_METRIC = 1e18


def check_update(
    update: Update,
    round_number: int,
    weights: Mapping[str, torch.Tensor],
    prototypes: torch.Tensor | None,
    *,
    identities: int | None = None,
    largest_count: int | None = None,
) -> None:
    """Refuse an update that does not fit the round.

    ``weights`` and ``prototypes`` give the expected names, shapes and dtypes; ``identities`` is the dimension D of the
    private prototypes (K, D), where the method reveals them. Raises :class:`FedfrError` naming client, field and reason
    for another round, a count that is not positive or above ``largest_count``, missing or unknown entries, wrong shape
    or dtype, NaN or infinity.
    """
    who = f"update of {update.client} for round {round_number}"
    if update.round != round_number:
        raise FedfrError(f"{who} refused: round is {update.round}")
    if update.count <= 0:
        raise FedfrError(f"{who} refused: count is {update.count}; it must be at least 1")
    if largest_count is not None and update.count > largest_count:
        raise FedfrError(f"{who} refused: count is {update.count}, above {largest_count} (federation.largest_count)")
    missing, unknown = sorted(weights.keys() - update.weights.keys()), sorted(update.weights.keys() - weights.keys())
    if missing or unknown:
        raise FedfrError(f"{who} refused: entries missing {missing[:3]}, unknown {[name[:60] for name in unknown[:3]]}")
    if (prototypes is None) != (update.prototypes is None):
        state = "missing" if update.prototypes is None else "not expected"
        raise FedfrError(f"{who} refused: prototypes are {state}")
    for name, expected in weights.items():
        _check_tensor(who, name, update.weights[name], expected)
    if prototypes is not None and update.prototypes is not None:
        _check_tensor(who, "prototypes", update.prototypes, prototypes)
    if (identities is None) != (update.identities is None):
        state = "missing" if update.identities is None else "not expected from this method"
        raise FedfrError(f"{who} refused: private prototypes are {state}")
    if identities is not None and update.identities is not None:
        # Any number of rows is allowed; nothing is allocated from the shape that the update claims.
        rows = update.identities.shape[0] if update.identities.dim() else 0
        _check_tensor(who, "private prototypes", update.identities, torch.empty(1, identities), rows)
        if rows == 0:
            raise FedfrError(f"{who} refused: it has no private prototypes")
    for name, value in update.metrics.items():
        if not math.isfinite(value) or abs(value) > LARGEST_METRIC:
            raise FedfrError(f"{who} refused: metric {name} is {value:g}")


def _check_tensor(who: str, name: str, value: torch.Tensor, expected: torch.Tensor, rows: int | None = None) -> None:
    """Refuse a shape or dtype other than that of ``expected``, NaN and infinity; ``rows`` replaces its row count."""
    shape = tuple(expected.shape) if rows is None else (rows, *expected.shape[1:])
    if value.shape != shape:
        raise FedfrError(f"{who} refused: {name} has shape {tuple(value.shape)}, expected {shape}")
    if value.dtype != expected.dtype:
        raise FedfrError(f"{who} refused: {name} has dtype {value.dtype}, expected {expected.dtype}")
    if not is_finite([value]):
        raise FedfrError(f"{who} refused: {name} holds NaN or infinity")


@dataclass(frozen=True)
class ChangeLimit:
    """Limit on the change of an update: ``largest`` times the Euclidean norm of the tensors sent to the clients.

    ``weights``: the tensors sent, with the public prototypes where the method shares them. Only floating-point entries
    count, without BatchNorm's ``statistics``; a norm below 1 counts as 1. A statistic may grow to ``largest`` squared
    times the largest value sent: a finite but absurd one would make the next round's model useless.
    """

    weights: Mapping[str, torch.Tensor]
    statistics: frozenset[str]
    largest: float

    @cached_property
    def length(self) -> float:
        """Euclidean norm of the entries that count."""
        return _length(self.weights[name] for name in self._counted)

    @cached_property
    def _counted(self) -> list[str]:
        entries = self.weights.items()
        return [name for name, value in entries if value.dtype.is_floating_point and name not in self.statistics]

    def check(self, update: Update) -> None:
        """Refuse an update, already checked to fit, that changed more than honest training does.

        Raises :class:`FedfrError` naming the client and both norms. A variance below 0, which would make every feature
        NaN, and a statistic beyond the limit are refused as well.
        """
        sent = tensors_by_name(update)
        moved = _length(self._differences(sent))
        if math.isinf(moved) or moved > self.largest * max(self.length, 1.0):
            text = (
                f"update of {update.client} for round {update.round} refused: its weights changed by {moved:.3g} in "
                f"norm; allowed is {self.largest:g} times their norm of {self.length:.3g} (federation.largest_change)"
            )
            raise FedfrError(text, shareable=text)
        for name in sorted(self.statistics & sent.keys()):
            self._check_statistic(update, name, sent[name])

    def _differences(self, sent: Mapping[str, torch.Tensor]) -> Iterator[torch.Tensor]:
        """Yield the changes in blocks, in the entries' own dtypes: one that overflows is infinite, and refused."""
        for name in self._counted:
            both = (self.weights[name].reshape(-1).split(_BLOCK), sent[name].reshape(-1).split(_BLOCK))
            yield from (new - old for old, new in zip(*both, strict=True))

    def _check_statistic(self, update: Update, name: str, value: torch.Tensor) -> None:
        """Refuse a negative variance, and a statistic beyond the squared limit (a variance is a square)."""
        if not value.dtype.is_floating_point or not value.numel():
            return
        found, before = float(value.abs().max()), float(self.weights[name].abs().max())
        allowed = self.largest**2 * max(before, 1.0)
        text = f"update of {update.client} for round {update.round} refused: {name} holds "
        if name.endswith("running_var") and bool((value < 0).any()):
            text += "a variance below 0"
        elif found > allowed:
            text += f"{found:.3g}, at most {allowed:.3g} is allowed (the square of federation.largest_change)"
        else:
            return
        raise FedfrError(text, shareable=text)


def _length(entries: Iterable[torch.Tensor]) -> float:
    """Return the Euclidean norm of all entries together; one entry is in memory at a time."""
    return math.hypot(*(float(torch.linalg.vector_norm(entry)) for entry in entries))


class Aggregate(Protocol):
    """Aggregate of the updates of a round, which are added in the order of client ids; a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def add(self, tensors: Mapping[str, torch.Tensor], count: int) -> None:
        """Add one client's entries with its weight ``count`` > 0."""
        ...

    def result(self) -> dict[str, torch.Tensor]:
        """Return the aggregate; raises :class:`FedfrError` when nothing was added or it is not finite."""
        ...


class StreamingAverage:
    """Σ n_i θ_i / Σ n_i over every floating-point entry, the maximum over integer entries (method, section 3).

    Memory: one model for the running mean plus the update being added, for any number of clients. Each step is computed
    in the dtype of the entry: its errors are within a few percent of those of steps computed in float64 and rounded, in
    a fifth of the time. Steps are elementwise, so the number of threads changes no bit. For bit-equal results updates
    must be added in a fixed order: the server adds them by client id.
    """

    def __init__(self) -> None:
        self.total = 0
        self._mean: dict[str, torch.Tensor] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing: there are no files."""

    def add(self, tensors: Mapping[str, torch.Tensor], count: int) -> None:
        """Add one client's entries with weight ``count`` > 0."""
        self.total += count
        if not self._mean:
            self._mean = {
                name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()
            }
            return
        share = count / self.total
        for name, value in tensors.items():
            mean = self._mean[name]
            if value.dtype.is_floating_point:
                mean.lerp_(value, share)
            else:
                torch.maximum(mean, value, out=mean)

    def result(self) -> dict[str, torch.Tensor]:
        """Return the average; raises :class:`FedfrError` when nothing was added or the average overflows."""
        if self.total == 0:
            raise FedfrError("nothing to average: no update was accepted")
        # Finite updates whose difference exceeds the largest number of their dtype.
        name = first_not_finite(self._mean)
        if name is not None:
            raise FedfrError(f"the average of {name} overflows; at least one client diverged")
        return self._mean
