"""Aggregation of the updates of a round by a rule, from files and in bounded memory."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch

from fedfr.config.training_config import FederationConfig
from fedfr.core.errors import FedfrError
from fedfr.core.files import write_temporary
from fedfr.federation.packing import raw_bytes
from fedfr.federation.robust_rules import sort_clients
from fedfr.federation.rule_registry import AggregationRule
from fedfr.training.finite import first_not_finite

__all__ = ["UPDATES", "StoredUpdates", "apply_rule"]

UPDATES = ".updates.tmp"
"""Folder of the files; whatever a killed process left in it is removed."""

# Values of all clients in memory at a time: at most a quarter of those of one model, and 32 MB of float32.
_MOST, _FEWEST = 1 << 23, 1 << 16
# Values whose squares are summed at a time.
_SUMMED = 1 << 18


class StoredUpdates:
    """Updates of a round, one file each in ``rounds/.updates.tmp``, aggregated one block of an entry at a time.

    ``before``: the tensors that the server sent, by name; updates are expected to have been checked against them.
    ``statistics``: BatchNorm's running statistics, which have norms of their own and no ``clip_norm``. Integer entries
    get the lower median. Memory: one model for the result, and a quarter of one for the blocks, for any number of
    clients. Leaving the context removes the files.
    """

    def __init__(
        self,
        rounds: Path,
        rule: AggregationRule,
        federation: FederationConfig,
        before: Mapping[str, torch.Tensor],
        statistics: frozenset[str],
    ) -> None:
        self._folder = rounds / UPDATES
        self._rule = rule
        self._federation = federation
        self._before = before
        self._statistics = statistics
        self._files: list[Path] = []
        self._counts: list[int] = []
        # Of every client, by whether they are those of the statistics.
        self._norms: dict[bool, list[float]] = {False: [], True: []}

    def __enter__(self) -> Self:
        shutil.rmtree(self._folder, ignore_errors=True)
        return self

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, tensors: Mapping[str, torch.Tensor], count: int) -> None:
        """Store one client's entries; clients are added in the order of their ids."""
        path = self._folder / str(len(self._files))
        write_temporary(path, (raw_bytes(tensors[name]) for name in self._before))
        self._files.append(path)
        self._counts.append(count)
        if "norms" in self._rule.arguments:
            for statistics, norms in self._norms.items():
                norms.append(self._norm(tensors, statistics=statistics))

    def _norm(self, tensors: Mapping[str, torch.Tensor], *, statistics: bool) -> float:
        """Return the norm of a client's change of the weights, or of the statistics; the same for any threads."""
        squares = []
        for name, before in self._before.items():
            if before.dtype.is_floating_point and (name in self._statistics) == statistics:
                for old, new in zip(*(_flat(each).split(_SUMMED) for each in (before, tensors[name])), strict=True):
                    change = new.double() - old
                    # NumPy's sums are pairwise and of one thread.
                    squares.append(float(change.square_().numpy().sum()))
        return math.sqrt(math.fsum(squares))

    def result(self) -> dict[str, torch.Tensor]:
        """Return the aggregate; raises :class:`FedfrError` when nothing was added, or it holds NaN or infinity."""
        if not self._files:
            raise FedfrError("nothing to aggregate: no update was accepted")
        values = sum(before.numel() for before in self._before.values())
        length = max(1, min(max(values // 4, _FEWEST), _MOST) // len(self._files))
        widest = max(before.element_size() for before in self._before.values())
        # One buffer for all blocks: freed ones of other lengths would stay with the process as gaps.
        buffer = torch.empty(length * len(self._files) * widest, dtype=torch.uint8)
        found, offset = {}, 0
        for name, before in self._before.items():
            found[name] = torch.empty_like(before, memory_format=torch.contiguous_format)
            blocks = zip(*(_flat(each).split(length) for each in (before, found[name])), strict=True)
            for old, new in blocks if before.numel() else ():
                new.copy_(self._combine(name, old, self._read(offset, old, buffer)))
                offset += old.numel() * old.element_size()
        broken = first_not_finite(found)
        if broken is not None:
            rule = self._federation.aggregation
            raise FedfrError(f"federation.aggregation = {rule}: the aggregate of {broken} holds NaN or infinity")
        return found

    def _read(self, offset: int, like: torch.Tensor, buffer: torch.Tensor) -> torch.Tensor:
        """Read the block (n, m) of all clients that begins at this byte of every file into ``buffer``."""
        size = len(self._files) * like.numel() * like.element_size()
        block = buffer[:size].view(like.dtype).view(len(self._files), *like.shape)
        for row, path in zip(block, self._files, strict=True):
            into = raw_bytes(row)
            try:
                with path.open("rb", buffering=0) as file:
                    file.seek(offset)
                    complete = file.readinto(into) == len(into)
            except OSError as error:
                raise FedfrError(
                    f"cannot read {path}: {error.strerror or error}; resume to repeat the round"
                ) from error
            if not complete:
                raise FedfrError(f"{path} was changed during the round; resume to repeat the round")
        return block

    def _combine(self, name: str, before: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        if not values.dtype.is_floating_point:
            return sort_clients(values)[(len(values) - 1) // 2]
        statistics = name in self._statistics
        given: dict[str, Any] = {
            "values": values,
            "before": before,
            "norms": torch.tensor(self._norms[statistics], dtype=torch.float64),
            "counts": torch.tensor(self._counts, dtype=torch.float64),
            "trim": self._federation.trim,
            "clip_norm": None if statistics else self._federation.clip_norm,
        }
        return apply_rule(self._federation.aggregation, self._rule, given)


def apply_rule(name: str, rule: AggregationRule, given: Mapping[str, Any]) -> torch.Tensor:
    """Return what ``rule`` makes of a block.

    Raises :class:`FedfrError` that names the rule if it fails, or returns another shape or dtype.
    """
    assert rule.combine is not None
    values: torch.Tensor = given["values"]
    this, expected = f"federation.aggregation = {name}", f"{tuple(values.shape[1:])} of {values.dtype}"
    try:
        found: Any = rule.combine(**{argument: given[argument] for argument in rule.arguments})
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise FedfrError(f"{this} fails: {reason}") from error
    if not isinstance(found, torch.Tensor):
        raise FedfrError(f"{this} returns {type(found).__name__}; expected a tensor {expected}")
    if found.shape != values.shape[1:] or found.dtype != values.dtype:
        raise FedfrError(f"{this} returns {tuple(found.shape)} of {found.dtype}; expected {expected}")
    return found.detach()


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """Return all values in one dimension; those of a contiguous tensor are its own, not a copy."""
    return tensor.detach().reshape(-1)
