"""Products of the decimals that people write: 0.28 · 25 is 7, though 0.28 has no exact binary form."""

from __future__ import annotations

from fractions import Fraction

__all__ = ["exact"]


def exact(number: float) -> Fraction:
    """``number`` as the decimal it is written as. What is rounded up or down must be counted from this."""
    return Fraction(repr(float(number)))
