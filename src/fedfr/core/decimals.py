"""Exact decimal arithmetic: 0.28 · 25 is 7, although 0.28 has no exact binary representation."""

from __future__ import annotations

from fractions import Fraction

__all__ = ["exact_fraction"]


def exact_fraction(number: float) -> Fraction:
    """Return ``number`` as the exact fraction of its shortest decimal representation, for rounding up or down."""
    return Fraction(repr(float(number)))
