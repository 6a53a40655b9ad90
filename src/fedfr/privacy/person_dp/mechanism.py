"""The noised sum of persons' changes: scale, sensitivity, noise, and the Gaussian mechanism that it is as good as.

Every person's change has at most norm C (:mod:`~fedfr.privacy.person_dp.person_changes`). It is expressed in steps of
C / S and rounded to integers, S being the number of steps in C. The integers of all persons are added without error, so
one person more or less moves the sum by at most S, exactly. Each site adds discrete Gaussian noise of variance v to
every value; h honest contributors together add h·v at least.

**Rotation, random rounding and conditional rounding** of the distributed discrete Gaussian mechanism (Kairouz, Liu,
Steinke 2021) are for sums of 8 to 16 bits. They are not used: a ring of 2³² is large enough that S · persons and the
noise fit without a rotation, and that the error of rounding to the nearest integer, at most C · √d / (2 S), is below
1 % of C. Modular reduction cannot weaken the guarantee, because it is computed from the noised sum.

**Equivalent Gaussian mechanism.** Let N(0, V) over the integers be the discrete Gaussian with parameter V.

1. Poisson's summation formula: Σ_k exp(−(k + c)² / 2s²) = s √(2π) (1 ± b) for every real c, with b ≤ 3 exp(−2π²s²).
2. The sum of h independent discrete Gaussians of parameter v is that of parameter h·v, up to factors (1 ± b)/(1 ∓ b)
   with s² ≥ v/2 in each of h − 1 convolutions: complete the square, and apply 1. (Kairouz et al. call the logarithm τ.)
3. The discrete Gaussian of parameter V is a real Gaussian x of variance V − s² that is rounded to an integer y with
   probability proportional to exp(−(y − x)² / 2s²), up to factors (1 ± b): integrate over x, and apply 1 to the
   denominator.
4. That rounding commutes with adding integers. So noise on an integer sum is a function of the sum plus real Gaussian
   noise of variance V − s², and a function reveals no more than its argument: exactly the privacy profile δ(ε) of the
   Gaussian mechanism with that variance, up to the factors of 2 and 3.

With s = 3 and v ≥ 32 the logarithms of all factors sum to less than 1e-60 for 1e12 values in all rounds. They change ε
by less than a floating-point number can show. The price is that h·v − 9 counts instead of h·v.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from fedfr.core.errors import FedfrError
from fedfr.privacy.person_dp.discrete_gaussian import LARGEST_VARIANCE

__all__ = ["SMALLEST_VARIANCE", "Mechanism", "choose_mechanism", "mean_change"]

SMALLEST_VARIANCE = 32
"""Smallest variance of one site's noise for which the proof above holds."""

Vector = npt.NDArray[np.uint32]

_ROUNDING = 9
_LARGEST = (1 << 31) - 1
_MOST_STEPS = 1 << 24
# The chance that one of 10¹² values is beyond this many standard deviations is below 1e-20.
_TAIL = 13


@dataclass(frozen=True)
class Mechanism:
    """Mechanism of one round, the same at every site.

    ``values``: number d of values of a change. ``clip``: largest norm C of a person's change. ``steps``: S, C in units
    of the integer sum. ``site_variance``: v, the parameter of each site's noise in units squared. ``honest``: h, how
    many sites whose noise an attacker does not know are in every sum. Raises :class:`FedfrError` for numbers that are
    not possible.
    """

    values: int
    clip: float
    steps: int
    site_variance: int
    honest: int

    def __post_init__(self) -> None:
        if self.values < 1 or self.honest < 1:
            raise FedfrError(
                f"differential privacy of {self.values} values with {self.honest} honest sites; give at least 1 of each"
            )
        if not (math.isfinite(self.clip) and self.clip > 0):
            raise FedfrError(f"the largest norm of a person's change is {self.clip}; give a number above 0")
        if not SMALLEST_VARIANCE <= self.site_variance <= LARGEST_VARIANCE:
            raise FedfrError(
                f"the noise of a site has variance {self.site_variance}; {SMALLEST_VARIANCE} to {LARGEST_VARIANCE} "
                "square units are allowed"
            )
        if not self.rounding_error < self.steps <= _MOST_STEPS:
            raise FedfrError(
                f"the largest norm of a person's change is {self.steps} units; for {self.values} values it must be "
                f"above {self.rounding_error:.0f}, the error of rounding, and at most {_MOST_STEPS}"
            )

    @property
    def unit(self) -> float:
        """Value of a change that one unit of the integer sum stands for."""
        return self.clip / self.steps

    @property
    def rounding_error(self) -> float:
        """Largest norm, in units, by which rounding to the nearest integers moves a change: √d / 2."""
        return math.sqrt(self.values) / 2

    @property
    def sensitivity(self) -> int:
        """Largest norm, in units, by which one person moves the integer sum."""
        return self.steps

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of the equivalent Gaussian mechanism divided by the sensitivity."""
        return math.sqrt(self.honest * self.site_variance - _ROUNDING) / self.sensitivity

    def noise_ratio(self, sites: int, people: int) -> float:
        """Return the expected norm of the noise in a mean over ``people`` at ``sites``, divided by C."""
        return math.sqrt(sites * self.site_variance * self.values) / (self.steps * people)

    def largest_sum(self, sites: int, people: int) -> int:
        """Return what no value of a sum of ``sites`` with ``people`` in all exceeds, but with probability 1e-20.

        Raises :class:`FedfrError` if it does not fit into 32 bits.
        """
        largest = people * self.steps + math.ceil(_TAIL * math.sqrt(sites * self.site_variance))
        if largest > _LARGEST:
            raise FedfrError(
                f"a sum over {people} persons at {sites} sites can reach {largest} units, and {_LARGEST} fit into 32 "
                f"bits; with {self.steps} units for the largest norm of a person's change that is too many persons"
            )
        return largest


def choose_mechanism(
    *, values: int, clip: float, noise_multiplier: float, honest: int, sites: int, people: int
) -> Mechanism:
    """Return the mechanism with at least this noise multiplier and the finest steps for which no sum can wrap.

    ``people``: largest number of persons in a sum of ``sites``. Raises :class:`FedfrError` if no steps fit.
    """
    if not (math.isfinite(noise_multiplier) and noise_multiplier > 0):
        raise FedfrError(f"the noise multiplier is {noise_multiplier}; give a number above 0")
    if not 1 <= honest <= sites:
        raise FedfrError(f"{honest} of {sites} sites are honest contributors; give 1 to {sites}")
    # All persons may change the same value by C, each site's noise adds its own standard deviations.
    widest = people + _TAIL * noise_multiplier * math.sqrt(sites / honest)
    per_site = math.sqrt(LARGEST_VARIANCE / 2) * math.sqrt(honest) / noise_multiplier
    steps = int(min(_LARGEST / widest, _MOST_STEPS, per_site))
    variance = (Fraction(noise_multiplier) ** 2 * steps**2 + _ROUNDING) / honest
    if steps <= math.sqrt(values) / 2:
        raise FedfrError(
            f"a sum over {people} persons at {sites} sites fits into 32 bits only with at most {steps} units for the "
            f"largest norm of a person's change; rounding {values} values moves a change by up to "
            f"{math.sqrt(values) / 2:.0f} units; use fewer persons, or train fewer values"
        )
    mechanism = Mechanism(values, clip, steps, max(SMALLEST_VARIANCE, math.ceil(variance)), honest)
    mechanism.largest_sum(sites, people)
    return mechanism


def mean_change(total: Vector, mechanism: Mechanism, people: int) -> npt.NDArray[np.float32]:
    """Return a noised sum modulo 2³² as a mean change of ``people`` persons, float32 (values,).

    ``people`` must be an agreed number: the exact one is private, too.
    """
    if total.shape != (mechanism.values,) or total.dtype != np.uint32 or people < 1:
        raise FedfrError(
            f"a noised sum of {mechanism.values} values over at least 1 person is wanted; given are {total.dtype} of "
            f"shape {total.shape} and {people} persons"
        )
    return (total.view(np.int32) * (mechanism.unit / people)).astype(np.float32)
