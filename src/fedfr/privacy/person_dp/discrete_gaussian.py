"""Discrete Gaussian noise, sampled exactly (Canonne, Kamath, Steinke 2020, algorithms 2 and 3)."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from fedfr.core.errors import FedfrError
from fedfr.privacy.person_dp.exponential_trials import exponential_trials
from fedfr.privacy.person_dp.random_words import RandomWords

__all__ = ["LARGEST_VARIANCE", "discrete_gaussian"]

Integers = npt.NDArray[np.int64]

LARGEST_VARIANCE = 1 << 52
"""Largest variance: products of 64 bits in a proposal stay exact."""

# Proposals at a time: 256 KiB for each array of them, so that they stay in the processor's cache.
_BLOCK = 1 << 15


def discrete_gaussian(count: int, variance: int, words: RandomWords) -> Integers:
    """Draw ``count`` integers; each is k with probability proportional to exp(−k² / (2 · ``variance``)).

    ``variance`` is the parameter σ², an integer; for σ² ≥ 1 the variance of the draws differs from it by less than
    1e-6. The distribution is exact given uniform words: floating point decides nothing (see
    :func:`~fedfr.privacy.person_dp.exponential_trials.exponential_trials`). The time it takes depends on the values
    drawn, in total only, so it must not be measured by others for single values. Raises :class:`FedfrError` for a
    variance below 1 or above 2⁵².

    >>> from fedfr.privacy.person_dp import RandomWords, discrete_gaussian
    >>> discrete_gaussian(6, 100, RandomWords(bytes(32), "example")).tolist()
    [16, -1, 0, 10, -2, 8]
    """
    if not 1 <= variance <= LARGEST_VARIANCE:
        raise FedfrError(f"the variance of the noise is {variance}; it must be from 1 to {LARGEST_VARIANCE}")
    drawn = np.empty(count, np.int64)
    done = 0
    while done < count:
        # About half of the proposals are accepted.
        accepted = _proposals(min(_BLOCK, 2 * (count - done) + 32), variance, words)[: count - done]
        drawn[done : done + len(accepted)] = accepted
        done += len(accepted)
    return drawn


def _proposals(count: int, variance: int, words: RandomWords) -> Integers:
    """Draw at most ``count`` values: discrete Laplace proposals, of which those of a discrete Gaussian are kept."""
    scale = math.isqrt(variance) + 1
    size = _laplace_sizes(count, scale, words)
    negative = (words.take(len(size)) & np.uint64(1)).astype(np.bool_)
    # Zero has one sign only.
    counted = ~(negative & (size == 0))
    size, negative = size[counted], negative[counted]
    distance = size * scale - variance
    shared = 2 * variance * scale**2
    accepted = exponential_trials(
        distance.astype(np.float64) ** 2 / float(shared), lambda i: Fraction(int(distance[i]) ** 2, shared), words
    )
    signed: Integers = np.where(negative, -size, size)
    return signed[accepted]


def _laplace_sizes(count: int, scale: int, words: RandomWords) -> Integers:
    """Draw at most ``count`` integers x ≥ 0 with probabilities proportional to exp(−x / ``scale``)."""
    remainder = words.below(scale, count)
    kept = exponential_trials(remainder / float(scale), lambda i: Fraction(int(remainder[i]), scale), words)
    remainder = remainder[kept]
    quotient = np.zeros(len(remainder), np.int64)
    running = np.arange(len(remainder))
    while running.size:
        running = running[exponential_trials(np.ones(running.size), lambda i: Fraction(1), words)]
        quotient[running] += 1
    return remainder + scale * quotient
