"""A site's part in differential privacy for a person: number of persons, ledger, budget."""

from __future__ import annotations

from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.privacy_terms import PrivacyTerms
from fedfr.experiments.person_privacy import LEDGERS
from fedfr.faces import FaceSet
from fedfr.privacy.person_dp import SitePrivacy, spent_epsilon

__all__ = ["check_persons", "site_privacy", "spent_budget"]


def check_persons(client: str, faces: FaceSet, terms: PrivacyTerms | None) -> None:
    """Raise :class:`FedfrError` if a site has more persons than agreed; how many it has is said at the site alone."""
    if terms is None or terms.people is None or faces.num_identities <= terms.people:
        return
    told = f"{client} has more persons than privacy.people = {terms.people}, the number in the agreement"
    raise FedfrError(
        f"{client} has {faces.num_identities} persons for training, and the agreement has privacy.people = "
        f"{terms.people}; ask the coordinator for an agreement with a larger number, or train with fewer persons",
        shareable=told,
    )


def site_privacy(agreement: Agreement, client: str, faces: FaceSet, private: Path) -> SitePrivacy | None:
    """Return differential privacy at a site with these faces and this private folder; None without it.

    The ledger is the same under all agreements, and with it the budget. Raises :class:`FedfrError` if there are more
    persons than agreed.
    """
    terms, plan, sums = agreement.privacy, agreement.person_plan(), agreement.sums
    if terms is None or plan is None:
        return None
    check_persons(client, faces, terms)
    return SitePrivacy(
        mechanism=plan.mechanism,
        epsilon=terms.epsilon,
        delta=terms.delta,
        people=plan.people_at_site,
        ledger=private / LEDGERS,
        run=agreement.fingerprint,
        threshold=terms.hard_negatives,
        agreement=b"" if sums is None else sums.digest,
    )


def spent_budget(terms: PrivacyTerms, private: Path) -> str:
    """Return what a site's ledger says of its budget; raises :class:`FedfrError` if it is damaged or has another."""
    spent = spent_epsilon(private / LEDGERS, epsilon=terms.epsilon, delta=terms.delta)
    return f"{spent:.3g} of ε = {terms.epsilon:g} at δ = {terms.delta:g} is spent"
