"""Rules of aggregation that limit the influence of single clients.

All operations are elementwise or run over the clients in a fixed order, so results depend neither on the number of
threads nor on the size of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median as middle_of

import torch

from fedfr.config.training_config import FederationConfig
from fedfr.federation.rule_registry import AggregationRule

__all__ = ["MEAN", "MEDIAN", "NORM_CLIPPED", "TRIMMED", "median", "norm_clipped", "sort_clients", "trimmed"]


def norm_clipped(
    values: torch.Tensor, before: torch.Tensor, norms: torch.Tensor, counts: torch.Tensor, clip_norm: float | None
) -> torch.Tensor:
    """Return ``before`` plus the weighted mean of the changes, each scaled down to ``clip_norm`` if it is longer.

    Without ``clip_norm`` the limit is the median of ``norms``: a minority of the clients cannot raise it beyond the
    longest honest change.
    """
    limit = middle_of(norms.tolist()) if clip_norm is None else clip_norm
    start, total = before.double(), float(counts.sum())
    changed = start.clone()
    for row, norm, count in zip(values, norms.tolist(), counts.tolist(), strict=True):
        share = count / total * (limit / norm if norm > limit else 1.0)
        changed += (row.double() - start) * share
    # Rounding must not take the result out of the range of its terms: a variance of 0 could become negative.
    low, high = torch.minimum(values.amin(dim=0), before), torch.maximum(values.amax(dim=0), before)
    return changed.to(values.dtype).clamp_(low, high)


def median(values: torch.Tensor) -> torch.Tensor:
    """Return the median over the clients, of an even number the mean of the two in the middle."""
    rows, half = sort_clients(values), len(values) // 2
    if len(values) % 2:
        return rows[half]
    return ((rows[half - 1].double() + rows[half].double()) / 2).to(values.dtype)


def trimmed(values: torch.Tensor, trim: int) -> torch.Tensor:
    """Return the mean over the clients without the ``trim`` largest and the ``trim`` smallest values."""
    rows = sort_clients(values)[trim : len(values) - trim]
    total = rows[0].double()
    for row in rows[1:]:
        total += row
    return (total / len(rows)).to(values.dtype)


def sort_clients(values: torch.Tensor) -> torch.Tensor:
    """Sort ``values`` (n, m) over the clients in place and return it.

    A network of comparisons of whole rows needs one row of memory; :func:`torch.sort` also returns indices, which take
    twice the memory of the values.
    """
    smaller = torch.empty_like(values[0])
    for first, second in _comparisons(len(values)):
        torch.minimum(values[first], values[second], out=smaller)
        torch.maximum(values[first], values[second], out=values[second])
        values[first].copy_(smaller)
    return values


def _comparisons(count: int) -> Iterator[tuple[int, int]]:
    """Yield the pairs of rows to compare and exchange (Batcher's method; Knuth, TAOCP 3, 5.2.2, algorithm M)."""
    highest = 1 << max(count - 1, 0).bit_length() >> 1
    step = highest
    while step:
        width, remainder, distance = highest, 0, step
        while True:
            yield from ((row, row + distance) for row in range(count - distance) if row & step == remainder)
            if width == step:
                break
            distance, width, remainder = width - step, width >> 1, step
        step >>= 1


def _three(federation: FederationConfig) -> int:
    # The median of two is their mean.
    return 3


def _least_clipped(federation: FederationConfig) -> int:
    return 3 if federation.clip_norm is None else 1


def _least_trimmed(federation: FederationConfig) -> int:
    return 2 * federation.trim + 1


MEAN = AggregationRule(None, linear=True)
NORM_CLIPPED = AggregationRule(norm_clipped, _least_clipped, linear=True)
MEDIAN = AggregationRule(median, _three)
TRIMMED = AggregationRule(trimmed, _least_trimmed)
