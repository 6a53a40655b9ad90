"""Privacy accountant: ε and δ of all noised sums so far, from privacy loss distributions (dp-accounting)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

from fedfr.core.errors import FedfrError

__all__ = ["epsilon_of", "noise_multiplier_for"]

# Interval of the discretized privacy loss. dp-accounting rounds so that ε is an upper bound; at 1e-3 it is less than
# 1e-5 above the exact value.
_INTERVAL = 1e-3
_LEAST_NOISE, _MOST_NOISE = 0.02, 1e4
_HEADROOM = 1 + 2e-6
_EPSILONS = (0.01, 100.0)
# Probabilities below 1e-15 are rounded up to it.
_SMALLEST_DELTA = 1e-12


@cache
def _library() -> Any:
    try:
        import dp_accounting
        from dp_accounting import pld
    except ImportError as error:
        raise FedfrError(
            "differential privacy needs the accountant dp-accounting; pip install 'fedfr[privacy]'"
        ) from error
    return dp_accounting, pld


def epsilon_of(noise_multipliers: Iterable[float], delta: float) -> float:
    """Return ε at ``delta`` of Gaussian mechanisms with these noise multipliers, composed adaptively.

    A noise multiplier is the standard deviation of the noise divided by the largest norm by which one person, added or
    removed, moves the sum. Everybody takes part in every round: there is no amplification by sampling. Gaussian
    mechanisms compose to one with 1/z² = Σ 1/z_i² (Dong, Roth, Su 2022); its privacy loss distribution gives ε, rounded
    up. ε is 0 without any mechanism, and infinite if the noise multiplier of one of them, or of all, is below 0.02.
    """
    inverse = 0.0
    for multiplier in noise_multipliers:
        # Privacy loss distributions of many thousand nats would take gigabytes.
        if not multiplier >= _LEAST_NOISE:
            return math.inf
        inverse += min(multiplier, _MOST_NOISE) ** -2
    if inverse == 0:
        return 0.0
    return _composed(1 / math.sqrt(inverse), delta)


@cache
def _composed(multiplier: float, delta: float) -> float:
    dp_accounting, pld = _library()
    if multiplier < _LEAST_NOISE:
        return math.inf
    accountant = pld.PLDAccountant(value_discretization_interval=_INTERVAL)
    accountant.compose(dp_accounting.GaussianDpEvent(multiplier))
    return float(accountant.get_epsilon(delta))


def noise_multiplier_for(epsilon: float, delta: float, rounds: int) -> float:
    """Return the noise multiplier of each of ``rounds`` mechanisms that together have at most ``epsilon``.

    It is the smallest one, up to a factor of 1.0001. Raises :class:`FedfrError` for settings outside the range in which
    the accountant is precise.
    """
    if not (_EPSILONS[0] <= epsilon <= _EPSILONS[1] and _SMALLEST_DELTA <= delta < 1 and rounds >= 1):
        raise FedfrError(
            f"ε = {epsilon:g} at δ = {delta:g} in {rounds} rounds; ε may be {_EPSILONS[0]:g} to {_EPSILONS[1]:g}, δ "
            f"{_SMALLEST_DELTA:g} to below 1, with at least 1 round"
        )
    dp_accounting, _ = _library()
    # Starting points of its search underflow for a large ε.
    with np.errstate(all="ignore"):
        multiplier = float(dp_accounting.get_sigma_gaussian(epsilon, delta)) * math.sqrt(rounds)
    for _ in range(50):
        multiplier *= _HEADROOM
        if epsilon_of([multiplier] * rounds, delta) <= epsilon:
            return multiplier
    raise FedfrError(f"no noise was found for ε = {epsilon:g} at δ = {delta:g} in {rounds} rounds; choose other values")
