"""What the vectors of a secure sum hold: updates weighted by images, or noised sums over persons."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fedfr.core.errors import FedfrError
from fedfr.federation.messages import PROTOTYPES, Broadcast, Update, tensors_by_name
from fedfr.privacy.person_dp import Mechanism, NoisedLayout, mean_change, moved_weights, vector_in
from fedfr.privacy.secure_sum import RoundPlan, SumAgreement, hash_model, layout_of, mean_of, vector_of
from fedfr.privacy.secure_sum.agreement import SumLayout
from fedfr.privacy.secure_sum.fixed_point import Layout, Vector

__all__ = ["Expected", "PersonTerms", "SumResult", "SumTerms", "UpdateTerms"]

Expected = Callable[[Broadcast], Mapping[str, torch.Tensor]]
"""Returns the tensors of a broadcast that clients train and share; none in a round in which nothing is shared."""


@dataclass(frozen=True)
class SumResult:
    """What the server learns from a sum: mean model and public prototypes, and the weight of each member."""

    weights: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor | None
    counts: Sequence[int]


@dataclass(frozen=True)
class SumTerms(ABC):
    """What is summed under an agreement; equal at the server and every site."""

    agreement: SumAgreement
    expected: Expected

    def plan(self, broadcast: Broadcast) -> RoundPlan:
        """Return the plan of the round of a broadcast, in which something is shared."""
        return RoundPlan(broadcast.round, hash_model(tensors_by_name(broadcast)), self.layout(broadcast))

    @abstractmethod
    def layout(self, broadcast: Broadcast) -> SumLayout:
        """Return the layout of the vectors of a round."""

    @abstractmethod
    def vector(self, broadcast: Broadcast, update: Update) -> Vector:
        """Return the vector of a client, a new one to be masked, from the update that it withholds."""

    @abstractmethod
    def result(self, broadcast: Broadcast, total: Vector, members: int) -> SumResult:
        """Return the result of a sum of ``members``; raises :class:`FedfrError` if they cannot have sent it."""


@dataclass(frozen=True)
class UpdateTerms(SumTerms):
    """Sums of updates, each times its number of images.

    ``statistics``: BatchNorm's running statistics. ``largest_count``: largest count of one client.
    ``clip_norm``: norm to which every client clips its change, None for none.
    """

    statistics: frozenset[str]
    largest_count: int
    clip_norm: float | None = None

    def layout(self, broadcast: Broadcast) -> Layout:
        """Return the layout that follows from the broadcast."""
        sent, sites = self.expected(broadcast), len(self.agreement.sites)
        return layout_of(sent, self.statistics, sites, self.largest_count, self.clip_norm)

    def vector(self, broadcast: Broadcast, update: Update) -> Vector:
        """Return the count and the clipped changes times the count."""
        return vector_of(self.layout(broadcast), self.expected(broadcast), tensors_by_name(update), update.count)

    def result(self, broadcast: Broadcast, total: Vector, members: int) -> SumResult:
        """Return the mean weighted by images; only the mean count of the members is known."""
        count, mean = mean_of(self.layout(broadcast), self.expected(broadcast), total, members)
        counts = [count // members + (place < count % members) for place in range(members)]
        prototypes = mean.pop(PROTOTYPES, None)
        return SumResult(mean, prototypes, counts)


@dataclass(frozen=True)
class PersonTerms(SumTerms):
    """Noised sums over persons, each site with a share of the noise (``privacy.dp=sum``).

    ``people``: agreed number of persons at a client. ``trained``: names of the entries that persons train, in the order
    of their changes.
    """

    mechanism: Mechanism
    people: int
    trained: Sequence[str]

    def layout(self, broadcast: Broadcast) -> NoisedLayout:
        """Return the layout, the same in every round."""
        return NoisedLayout(self.mechanism, len(self.agreement.sites), self.people)

    def vector(self, broadcast: Broadcast, update: Update) -> Vector:
        """Return the noised sum, as it was stored."""
        return vector_in(update)

    def result(self, broadcast: Broadcast, total: Vector, members: int) -> SumResult:
        """Return the model moved by the noised mean over the agreed number of persons."""
        persons, expected = members * self.people, self.expected(broadcast)
        largest = self.mechanism.largest_sum(members, persons)
        signed = total.view(np.int32)
        if not -largest <= int(signed.min()) <= int(signed.max()) <= largest:
            raise FedfrError(
                f"the noised sum of {members} sites holds values beyond ±{largest} units, which {persons} persons and "
                "the noise do not reach; a site is faulty; the round is lost"
            )
        change = mean_change(total, self.mechanism, persons)
        weights = moved_weights(broadcast.weights, expected.keys(), self.trained, change)
        return SumResult(weights, expected.get(PROTOTYPES), [self.people] * members)
