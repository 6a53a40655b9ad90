"""A metric value with its comparison counts and threshold, and the rule that refuses it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from fedfr.core.decimals import exact_fraction
from fedfr.core.short_repr import Brief
from fedfr.evaluation.array_inputs import as_rates

__all__ = ["MINIMUM_IMPOSTORS", "Metric", "empty_metric", "exact_product", "rate_label"]

MINIMUM_IMPOSTORS = 10
"""A metric at an error rate is refused when fewer impostors than this are expected above its threshold."""


@dataclass(frozen=True, repr=False)
class Metric(Brief):
    """One metric of one protocol; ``value`` is None where it is refused, and ``refused`` gives the reason.

    ``genuine`` and ``impostor`` count comparisons (1:1) or mated and non-mated probes (1:N). ``impostors_above`` is the
    number of impostors expected above the threshold; a score must exceed ``threshold`` to be accepted.

    >>> from fedfr.evaluation import Metric
    >>> Metric("TAR@FAR=1e-2", 0.95, genuine=200, impostor=5000, impostors_above=50.0, threshold=0.31)
    Metric(name='TAR@FAR=1e-2', value=0.95, genuine=200, impostor=5000, impostors_above=50, threshold=0.31)
    >>> Metric("TAR@FAR=1e-4", None, 200, 12, 1.2, refused="rests on 1.2 impostors; at least 10 are needed").refused
    'rests on 1.2 impostors; at least 10 are needed'
    """

    shown_whole: ClassVar[frozenset[str]] = frozenset({"refused"})

    name: str
    value: float | None
    genuine: int
    impostor: int
    impostors_above: float
    refused: str = ""
    threshold: float | None = None


def rate_label(rate: float) -> str:
    """Format an error rate as in metric names; raises :class:`FedfrError` unless 0 < rate < 1.

    >>> from fedfr.evaluation import rate_label
    >>> [rate_label(rate) for rate in (0.0001, 0.02, 0.0015)]
    ['1e-4', '2e-2', '1.5e-3']
    """
    (value,) = as_rates([rate], "rate")
    mantissa, _, exponent = f"{value:.12e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def exact_product(rate: float, count: int) -> Fraction:
    """Return ``rate`` · ``count`` without rounding, the rate read as its decimal text: 0.29 · 100 is 29."""
    return exact_fraction(rate) * count


def empty_metric(
    metric: str, rate: float, genuine: int, impostor: int, minimum: int, *, of: int | None = None
) -> Metric:
    """Return a metric without a value: its counts, the impostors expected above it, and the refusal if there is one.

    ``rate`` is the error rate; ``of`` is the number it is a share of, by default ``impostor``.
    """
    above = exact_product(rate, impostor if of is None else of)
    refused = ""
    if genuine == 0:
        refused = "nothing genuine to accept"
    elif impostor == 0:
        refused = "no impostors to reject"
    elif above < minimum:
        refused = f"rests on {float(above):.3g} impostors; at least {minimum} are needed"
    return Metric(metric, None, genuine, impostor, float(above), refused)
