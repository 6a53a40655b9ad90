"""Differential privacy for an enrolled person: clipping, exact noise, accountant, ledger, plan.

Runs use it with ``privacy.dp``. :class:`PrivateClient` is a client under this guarantee, with the plan of
:func:`make_plan`, and :class:`SharingClient` one in a secure sum. Their parts, in the order of a round:
:class:`PersonTrainer` for each person, :class:`PersonSum`, :func:`noised_sum` with the site's ledger
(:func:`open_ledger`), :func:`mean_change`.
"""

from fedfr.privacy.person_dp.accountant import epsilon_of, noise_multiplier_for
from fedfr.privacy.person_dp.discrete_gaussian import discrete_gaussian
from fedfr.privacy.person_dp.ledger import Ledger, open_ledger, spent_epsilon
from fedfr.privacy.person_dp.mechanism import Mechanism, choose_mechanism, mean_change
from fedfr.privacy.person_dp.person_changes import PersonSum, person_change
from fedfr.privacy.person_dp.person_training import PersonTrainer, trained_names
from fedfr.privacy.person_dp.plan import PersonPlan, PlanSettings, make_plan
from fedfr.privacy.person_dp.private_client import (
    PrivateClient,
    SharingClient,
    SitePrivacy,
    SummingClient,
    check_covered,
    moved_weights,
    vector_in,
)
from fedfr.privacy.person_dp.random_words import RandomWords
from fedfr.privacy.person_dp.release import noised_sum
from fedfr.privacy.person_dp.summed_noise import NoisedLayout, honest_contributors, sum_sites

__all__ = [
    "Ledger",
    "Mechanism",
    "NoisedLayout",
    "PersonPlan",
    "PersonSum",
    "PersonTrainer",
    "PlanSettings",
    "PrivateClient",
    "RandomWords",
    "SharingClient",
    "SitePrivacy",
    "SummingClient",
    "check_covered",
    "choose_mechanism",
    "discrete_gaussian",
    "epsilon_of",
    "honest_contributors",
    "make_plan",
    "mean_change",
    "moved_weights",
    "noise_multiplier_for",
    "noised_sum",
    "open_ledger",
    "person_change",
    "spent_epsilon",
    "sum_sites",
    "trained_names",
    "vector_in",
]


def __dir__() -> list[str]:
    return sorted(__all__)
