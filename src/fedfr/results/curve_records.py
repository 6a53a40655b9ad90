"""What the curves and histograms of a report are drawn from: one record per model and protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.short_repr import Brief
from fedfr.evaluation import RATES, ScoreCounts

__all__ = ["Curve", "curve_from"]

_BINS = 5  # of the score counts' in one of the curve's


@dataclass(frozen=True, repr=False)
class Curve(Brief):
    """``accepted``: TAR or TPIR at every rate of :data:`~fedfr.evaluation.RATES`, None where it is refused.

    Over several ``clients`` it is their mean, and refused unless every one of them has a figure. ``genuine`` and
    ``impostor``: scores in bins of 0.005 from -1 to 1 (of older runs 0.02), all clients together.
    """

    method: str
    seed: int
    round: int
    model: str
    protocol: str
    clients: int
    accepted: tuple[float | None, ...]
    genuine: tuple[int, ...]
    impostor: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Curve:
        """Inverse of :meth:`to_dict`."""
        values: dict[str, Any] = {field.name: content[field.name] for field in fields(cls)}
        return cls(**values | {name: tuple(values[name]) for name in ("accepted", "genuine", "impostor")})


def curve_from(
    counts: Sequence[ScoreCounts],
    *,
    method: str,
    seed: int,
    round_number: int,
    model: str,
    protocol: str,
    clients: int,
) -> Curve:
    """The record of one model's scores, one :class:`ScoreCounts` per client (or one in all)."""
    each = [single.accepted() for single in counts]
    whole = counts[0]
    for single in counts[1:]:
        whole += single
    return Curve(
        method,
        seed,
        round_number,
        model,
        protocol,
        clients,
        tuple(_mean([values[place] for values in each]) for place in range(len(RATES))),
        _histogram(whole.genuine),
        _histogram(whole.impostor),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return round(fmean(given), 6) if len(given) == len(values) else None


def _histogram(counts: NDArray[np.int64]) -> tuple[int, ...]:
    # The last of the fine bins holds the score 1 alone and joins its neighbours.
    joined = counts[:-1].copy()
    joined[-1] += counts[-1]
    return tuple(joined.reshape(-1, _BINS).sum(axis=1).tolist())
