"""One measured figure with the comparisons behind it, and the rule that refuses figures resting on too few."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MINIMUM_IMPOSTORS", "Figure", "figure_at_rate", "rate_label"]

MINIMUM_IMPOSTORS = 10
"""A false-accept rate that fewer than this many impostors would reach by chance is not reported."""


@dataclass(frozen=True)
class Figure:
    """A metric's value in 0…1, or None with the reason in ``refused``.

    ``genuine``/``impostor``: comparisons (1:1), or mated/non-mated probes (1:N). ``behind``: impostors that may be
    accepted at this rate, rate × impostor; the figure rests on them.
    """

    metric: str
    value: float | None
    genuine: int
    impostor: int
    behind: float = float("inf")
    refused: str = ""


def rate_label(rate: float) -> str:
    """``1e-4`` for 0.0001, ``2.5e-2`` for 0.025."""
    digits, exponent = f"{rate:e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"


def figure_at_rate(
    name: str, rate: float, value: float | None, genuine: int, impostor: int, behind: float
) -> Figure:
    """A figure such as ``TAR@FAR=1e-4``; refused when nothing genuine or fewer than ten impostors stand behind it."""
    metric = f"{name}={rate_label(rate)}"
    reason = ""
    if genuine == 0:
        reason = "no genuine comparison"
    # The tolerance keeps 0.01 · 1000 from counting as less than ten.
    elif behind < MINIMUM_IMPOSTORS * (1 - 1e-9):
        reason = f"{behind:.3g} impostors behind it, at least {MINIMUM_IMPOSTORS} are needed"
    return Figure(metric, None if reason else value, genuine, impostor, behind, reason)
