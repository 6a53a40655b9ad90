"""Noised sums of sites inside a secure sum: who is assumed honest, and the layout of the vectors.

Each site adds a share of the noise only, so what one site sends unmasked would be protected by less than the plan says.
What counts is the noise of the sites that an attacker does not know: of the smallest list of sites that a secure sum
accepts, max(3, t) for the threshold t, all but the c that collude with the server. Calibrated to all sites, the noise
would be too small as soon as one drops out or colludes.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedfr.core.errors import FedfrError
from fedfr.privacy.person_dp.mechanism import Mechanism
from fedfr.privacy.secure_sum.agreement import FEWEST_SITES, smallest_threshold
from fedfr.privacy.secure_sum.canonical import Label, digest, float_bytes

__all__ = ["NoisedLayout", "honest_contributors", "sum_sites"]


def sum_sites(sites: int, threshold: int | None, colluding: int | None) -> tuple[int, int, int]:
    """Return sites, threshold and colluding sites of a secure sum, with a third colluding where nothing is given.

    The default of the threshold is that of runs: the smallest that withstands a third of the sites.
    """
    third = sites // 3
    return sites, threshold or smallest_threshold(sites, third), third if colluding is None else colluding


def honest_contributors(sites: int, threshold: int, colluding: int) -> int:
    """Return how many sites of every secure sum add noise that server and ``colluding`` sites do not know.

    ``threshold``: that of the secure sum among ``sites``. Raises :class:`FedfrError` if a server that deviates from the
    protocol could open a smaller sum, down to that of one site.
    """
    if not 0 <= colluding < sites:
        raise FedfrError(f"{colluding} of {sites} sites collude with the server; give 0 to {sites - 1}")
    if not smallest_threshold(sites, colluding) <= threshold <= sites:
        raise FedfrError(
            f"a threshold of {threshold} among {sites} sites, {colluding} of which collude with the server, lets a "
            "server that deviates from the protocol open the sum of a single site, which has only a share of the "
            f"noise; the threshold must be {smallest_threshold(sites, colluding)} to {sites}, or fewer sites collude"
        )
    return max(FEWEST_SITES, threshold) - colluding


@dataclass(frozen=True)
class NoisedLayout:
    """Layout of the noised sums of one round: the values of the mechanism, and no number of persons or images.

    ``sites``: how many may be in a secure sum. ``people``: agreed number of persons at each. Raises
    :class:`FedfrError` if a sum could wrap.
    """

    mechanism: Mechanism
    sites: int
    people: int

    def __post_init__(self) -> None:
        self.mechanism.largest_sum(self.sites, self.sites * self.people)

    @property
    def length(self) -> int:
        """Number of values in a vector."""
        return self.mechanism.values

    @property
    def digest(self) -> bytes:
        """Hash of the layout: sites with other mechanisms share no mask."""
        it = self.mechanism
        numbers = [it.values, it.steps, it.site_variance, it.honest, self.sites, self.people]
        return digest(Label.NOISED_LAYOUT, numbers, float_bytes(it.clip))
