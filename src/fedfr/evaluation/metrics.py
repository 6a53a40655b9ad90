"""One reported number, with what stands behind it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from fedfr.core.decimals import exact
from fedfr.core.errors import FedfrError
from fedfr.core.short_repr import Brief

__all__ = ["MINIMUM_IMPOSTORS", "Metric", "expected", "rate_label", "refusable"]

MINIMUM_IMPOSTORS = 10
"""A rate resting on fewer impostors above its threshold than this is refused."""


@dataclass(frozen=True, repr=False)
class Metric(Brief):
    """One metric of one protocol; ``value`` is None where it was refused, and ``refused`` then says why.

    ``genuine`` and ``impostor`` count comparisons (1:1) or mated and non-mated probes (1:N). ``behind`` is how many
    impostors are expected above the threshold; ``threshold`` is the score that had to be exceeded.
    """

    name: str
    value: float | None
    genuine: int
    impostor: int
    behind: float
    refused: str = ""
    threshold: float | None = None


def rate_label(rate: float) -> str:
    """A rate as the metric names write it: ``1e-4``, ``2e-2``, ``1.5e-3``; raises unless 0 < rate < 1."""
    if not 0 < rate < 1:
        raise FedfrError(f"found an error rate of {rate:g}; rates lie strictly between 0 and 1, for instance 1e-4")
    mantissa, _, exponent = f"{rate:.12e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def expected(rate: float, count: int) -> Fraction:
    """``rate`` · ``count`` without rounding, the rate read as the decimal it is written as: 0.29 · 100 is 29."""
    return exact(rate) * count


def refusable(metric: str, rate: float, genuine: int, impostor: int, minimum: int, *, of: int | None = None) -> Metric:
    """The metric before it has a value: counts, impostors behind it and, where they do not suffice, the refusal.

    ``rate`` is the error rate; ``of`` what it is a share of, ``impostor`` by default.
    """
    behind = expected(rate, impostor if of is None else of)
    refused = ""
    if genuine == 0:
        refused = "nothing genuine to accept"
    elif impostor == 0:
        refused = "no impostors to reject"
    elif behind < minimum:
        refused = f"rests on {float(behind):.3g} impostors; at least {minimum} are needed"
    return Metric(metric, None, genuine, impostor, float(behind), refused)
