"""Plan of differential privacy for a person before training: noise, ε, δ, and how much signal is left."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

from pydantic import Field

from fedfr.core.errors import FedfrError
from fedfr.core.settings import Settings
from fedfr.privacy.person_dp.accountant import epsilon_of, noise_multiplier_for
from fedfr.privacy.person_dp.mechanism import Mechanism, choose_mechanism

__all__ = ["LARGEST_EPSILON", "LARGEST_NOISE_RATIO", "PersonPlan", "PlanSettings", "make_plan"]

LARGEST_EPSILON = 10.0
"""Above it a guarantee says little: one person may change the chance of an outcome by a factor of 22 000."""

LARGEST_NOISE_RATIO = 1.0
"""Above it the noise in a mean is larger than the largest change on which all persons could agree."""

Positive = Annotated[int, Field(ge=1)]


class PlanSettings(Settings):
    """Settings of a run with differential privacy for a person.

    ``people``: enrolled persons at the sites of a sum, an agreed number. ``sites``: sites in each sum. ``honest``:
    sites among them whose noise an attacker does not know: the threshold of the secure sum minus the colluding sites; 1
    if every site adds the whole noise to what it sends (no secure sum). ``clip``: largest norm of a person's change.
    ``values``: number of trained parameters. ``agreed``: sites of the agreement, a sum of all of which must not wrap;
    by default ``sites``.
    """

    people: Positive
    sites: Positive
    honest: Positive
    rounds: Positive
    values: Positive
    clip: Annotated[float, Field(gt=0)] = 1.0
    epsilon: Annotated[float, Field(gt=0)] = 8.0
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    agreed: Positive | None = None

    @property
    def enrolled(self) -> int:
        """Enrolled persons at all sites of the agreement, if each has as many as those of a sum."""
        return math.ceil(Fraction(self.people * (self.agreed or self.sites), self.sites))


@dataclass(frozen=True)
class PersonPlan:
    """Plan of a run: settings, mechanism of each round, ``epsilon`` after all rounds, and noise.

    ``noise_ratio``: expected norm of the noise in the mean change of a round, divided by C. The mean change itself has
    at most norm C, and only if the changes of all persons are equal. ``single_ratio``: the same if every site added all
    of the noise to what it sends by itself; None if the plan is for that.
    """

    settings: PlanSettings
    mechanism: Mechanism
    epsilon: float
    noise_ratio: float
    single_ratio: float | None = None

    @property
    def people_at_site(self) -> int:
        """Agreed number of persons at a site."""
        return self.settings.people // self.settings.sites

    def text(self) -> str:
        """Describe the plan in a few lines, for people who decide about it."""
        it, mechanism = self.settings, self.mechanism
        site_noise = math.sqrt(mechanism.site_variance) * mechanism.unit
        rows = {
            "unit": f"one person, added or removed; {it.people} persons at {it.sites} sites, all in every round",
            "guarantee": f"ε = {self.epsilon:.3f} at δ = {it.delta:g} after {it.rounds} rounds, against everyone who "
            f"sees all sums and knows the noise of all sites in each but {it.honest}",
            "clipping": f"a person's change has norm at most C = {it.clip:g}, {mechanism.steps} units of the sum",
            "noise": f"{mechanism.noise_multiplier:.3f} C in the sum from {it.honest} honest sites; each site adds a "
            f"discrete Gaussian of standard deviation {site_noise:.3g} to every value",
            "signal": f"the noise in a round's mean of {it.values} values has norm {self.noise_ratio:.2g} C; the mean "
            "change has at most C",
        }
        if self.single_ratio is not None:
            rows["alone"] = (
                f"without a secure sum (privacy.dp=site) every site adds all of the noise, and that of a round's mean "
                f"has norm {self.single_ratio:.2g} C"
            )
        return "\n".join(f"{name:<11}{what}" for name, what in rows.items())


def make_plan(settings: PlanSettings) -> PersonPlan:
    """Return the plan with the least noise that these settings allow.

    Raises :class:`FedfrError`, with the numbers and with what would do, if the settings contradict each other, if the
    guarantee would mean little, or if the noise would be larger than the signal.
    """
    _refuse_weak(settings)
    multiplier = noise_multiplier_for(settings.epsilon, settings.delta, settings.rounds)
    mechanism = _mechanism(settings, multiplier, settings.honest)
    ratio = mechanism.noise_ratio(settings.sites, settings.people)
    if ratio > LARGEST_NOISE_RATIO:
        raise FedfrError(
            f"{settings.people} persons, {settings.values} values and ε = {settings.epsilon:g} in {settings.rounds} "
            f"rounds need noise of {ratio:.3g} times the largest possible mean change; at most "
            f"{LARGEST_NOISE_RATIO:g} is allowed; train at most {math.floor(settings.values / ratio**2)} values, or "
            f"take part with at least {math.ceil(settings.people * ratio)} persons"
        )
    spent = epsilon_of([mechanism.noise_multiplier] * settings.rounds, settings.delta)
    single = None
    if settings.honest > 1:
        single = _mechanism(settings, multiplier, 1).noise_ratio(settings.sites, settings.people)
    return PersonPlan(settings, mechanism, spent, ratio, single)


def _mechanism(settings: PlanSettings, multiplier: float, honest: int) -> Mechanism:
    return choose_mechanism(
        values=settings.values,
        clip=settings.clip,
        noise_multiplier=multiplier,
        honest=honest,
        sites=settings.agreed or settings.sites,
        people=settings.enrolled,
    )


def _refuse_weak(settings: PlanSettings) -> None:
    if settings.honest > settings.sites:
        raise FedfrError(f"{settings.honest} honest sites of {settings.sites}; give 1 to {settings.sites}")
    if settings.agreed is not None and settings.agreed < settings.sites:
        raise FedfrError(f"{settings.sites} sites in a sum of {settings.agreed} sites agreed; give at most that many")
    if settings.people < settings.sites:
        raise FedfrError(f"{settings.people} persons at {settings.sites} sites; every site needs at least one person")
    if settings.epsilon > LARGEST_EPSILON:
        raise FedfrError(
            f"ε = {settings.epsilon:g} means little: one person may change the probability of an outcome by a factor "
            f"of e^{settings.epsilon:g}; choose at most {LARGEST_EPSILON:g}"
        )
    if settings.delta * settings.enrolled >= 1:
        raise FedfrError(
            f"δ = {settings.delta:g} with {settings.enrolled} persons would allow to publish one of them entirely; "
            f"choose less than {1 / settings.enrolled:.2g}, better {0.1 / settings.enrolled:.2g}"
        )
