"""Records from which a report's curves and histograms are drawn, one per model and protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.short_repr import Brief
from fedfr.evaluation import RATES, ScoreCounts

__all__ = ["Curve", "curve_from"]

_BINS = 5  # bins of the score counts per bin of the curve


@dataclass(frozen=True, repr=False)
class Curve(Brief):
    """Curve and score histograms of one model and protocol.

    ``accepted``: TAR or TPIR at every rate of :data:`~fedfr.evaluation.RATES`, None where it is refused; over several
    ``clients`` their mean, refused unless every client has a value. ``genuine`` and ``impostor``: counts of scores in
    bins of 0.005 from -1 to 1 (0.02 in older runs), summed over clients.
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
        """Return plain JSON values."""
        return asdict(self)


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
    """Return the record of one model's scores, given as one :class:`ScoreCounts` per client (or a single one)."""
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
    # The last fine bin holds only the score 1; it is added to the one before it.
    joined = counts[:-1].copy()
    joined[-1] += counts[-1]
    return tuple(joined.reshape(-1, _BINS).sum(axis=1).tolist())
