"""Random trials that succeed with probability exactly exp(−x), for many rational x at once."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from fedfr.privacy.person_dp.random_words import RandomWords

__all__ = ["exponential_trials"]

Floats = npt.NDArray[np.float64]

# Relative error of a threshold in floating point. It is far larger than the errors of the exponent (2⁻⁴⁷ · 745), of
# the exponential function and of the products below, so it need not be tight: it only decides how often arithmetic of
# higher precision is needed (one trial in 2³⁵).
_MARGIN = 2.0**-36
_BITS = 53


def exponential_trials(
    exponents: Floats, exact: Callable[[int], Fraction], words: RandomWords
) -> npt.NDArray[np.bool_]:
    """Return whether each trial succeeds; trial i does so with probability exp(−x_i).

    ``exponents``: x_i ≥ 0 in floating point, with a relative error of at most 2⁻⁴⁷. ``exact(i)`` returns x_i itself.

    A trial compares a uniform real number U, whose bits are drawn as they are needed, with exp(−x). The first 53 bits
    decide if they lie outside the interval in which the threshold is known to be. Otherwise more bits are compared with
    a threshold of more digits. Rounding therefore changes no outcome, only the effort: the result is that of exact
    arithmetic, and the same on processors with different exponential functions.
    """
    first = words.position
    prefix = (words.take(len(exponents)) >> np.uint64(64 - _BITS)).astype(np.float64)
    threshold = np.exp(-exponents) * 2.0**_BITS
    succeeded = prefix + 1 <= threshold * (1 - _MARGIN)
    # The threshold of a large exponent can be rounded to zero, but is never zero.
    undecided = ~succeeded & (prefix < np.maximum(threshold * (1 + _MARGIN), 1e-300))
    for index in np.flatnonzero(undecided):
        more = words.more(first + int(index))
        succeeded[index] = _decide(int(prefix[index]), exact(int(index)), more)
    return succeeded


def _decide(prefix: int, exponent: Fraction, more: RandomWords) -> bool:
    """Return whether the uniform number with the given first 53 bits is below exp(−exponent)."""
    if exponent == 0:
        return True
    bits = _BITS
    while True:
        prefix, bits = prefix << 64 | int(more.take(1)[0]), bits + 64
        low, high = _exponential(exponent, bits // 3 + 12)
        if prefix + 1 <= low * (1 << bits):
            return True
        if prefix >= high * (1 << bits):
            return False


def _exponential(exponent: Fraction, digits: int) -> tuple[Fraction, Fraction]:
    """Return a lower and an upper bound of exp(−exponent)."""
    with decimal.localcontext(decimal.Context(prec=digits, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX)):
        quotient = decimal.Decimal(exponent.numerator) / decimal.Decimal(exponent.denominator)
        value = Fraction((-quotient).exp())
    # The quotient has a relative error of 10^(1 − digits) / 2, the exponential function is rounded correctly.
    error = (exponent + 4) / 10 ** (digits - 1)
    return value * (1 - error), value * (1 + error)
