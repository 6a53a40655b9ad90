"""Clients whose updates are differentially private for each of their persons, sent alone or inside a secure sum."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet
from fedfr.federation.client import Client, ClientSettings
from fedfr.federation.messages import Broadcast, Update
from fedfr.federation.method import Method, shared_entries
from fedfr.federation.networks import Networks
from fedfr.federation.private_state import PrivateState
from fedfr.federation.private_store import PrivateStore
from fedfr.federation.public_faces import PublicFaces
from fedfr.federation.withholding_client import WithholdingClient
from fedfr.privacy.person_dp.ledger import open_ledger
from fedfr.privacy.person_dp.mechanism import Mechanism, mean_change
from fedfr.privacy.person_dp.person_changes import PersonSum
from fedfr.privacy.person_dp.person_training import PersonTrainer
from fedfr.privacy.person_dp.release import noised_sum

__all__ = [
    "PrivateClient",
    "SharingClient",
    "SitePrivacy",
    "SummingClient",
    "check_covered",
    "moved_weights",
    "vector_in",
]

_NOISED = "noised sum over persons"
Noised = npt.NDArray[np.uint32]

# The client's own log; it stays on the client's machine.
_log = logging.getLogger("fedfr.client")


@dataclass(frozen=True)
class SitePrivacy:
    """Differential privacy at one site.

    ``mechanism`` and the budget ``epsilon`` at ``delta`` come from the plan of the run
    (:func:`~fedfr.privacy.person_dp.plan.make_plan`). ``people``: agreed number of the site's persons, at least as many
    as are enrolled; it is the weight of the update. ``ledger``: folder of the site's ledger. ``run``: name of the run
    in it. ``threshold``: cosine from which a public image is a hard negative of a person. ``agreement``: hash of the
    agreement of the secure sum in which the noised sum leaves, empty if it is sent by itself.
    """

    mechanism: Mechanism
    epsilon: float
    delta: float
    people: int
    ledger: Path
    run: str
    threshold: float = 0.4
    agreement: bytes = b""


def check_covered(method: Method, updates: str, where: str) -> None:
    """Raise :class:`FedfrError`, beginning with ``where``, if not all that is sent would be in the noised sum.

    ``updates``: the format of updates, ``federation.updates``.
    """
    if method.reveals_identities or method.own_model:
        raise FedfrError(
            f"{where}: this method sends more than the change of a generic model, which differential privacy for a "
            "person does not cover; choose another method, such as fedfr or fedavg"
        )
    if updates != "full":
        raise FedfrError(
            f"{where}: federation.updates = {updates!r} keeps what it rounds off for the next round, which "
            "differential privacy for a person does not cover; choose 'full'"
        )


class PrivateClient(Client):
    """A client that sends the noised mean change of its persons, each trained alone, in place of its trained model.

    The update holds θ^t plus that mean, Φ_g and the entries of BatchNorm as they were received, and the agreed number
    of persons; no losses, counts or times. The server's average weighted by persons is then θ^t plus the mean over all
    sites. The method's own local training runs as well, for the personalized model; its result stays at the client.

    The server sees every update by itself, so ``mechanism.honest`` must be 1. Raises :class:`FedfrError` for a method
    that sends more than a backbone, and for compressed updates.
    """

    def __init__(
        self,
        client_id: str,
        private: FaceSet,
        public: PublicFaces,
        method: Method,
        settings: ClientSettings,
        store: PrivateStore,
        networks: Networks | None = None,
        *,
        privacy: SitePrivacy,
    ) -> None:
        super().__init__(client_id, private, public, method, settings, store, networks)
        self.privacy = privacy
        check_covered(method, settings.federation.updates, client_id)
        self._check_noise()

    def _check_noise(self) -> None:
        honest = self.privacy.mechanism.honest
        if honest != 1 or self.privacy.agreement:
            raise FedfrError(
                f"{self.id}: the noise is planned for {honest} honest sites in a secure sum, and this client sends its "
                "update by itself; plan with 1"
            )

    def train(self, broadcast: Broadcast) -> tuple[Update, PrivateState]:
        """Train for one round, charge the ledger, and return the noised update and the private state to save.

        Raises :class:`FedfrError` if the broadcast does not fit the client or the budget does not suffice. An exception
        in local training does not stop the update, because others would see it: the personalized model stays as it was,
        and the client's log has the reason.
        """
        self._networks.check(broadcast)
        self._check_public(broadcast)
        try:
            _, state = super().train(broadcast)
        except Exception as error:  # noqa: BLE001 - whatever it is, the persons may be its cause
            reason = f"{type(error).__name__}: {error}"
            _log.warning("the personalized model of round %d is not trained: %s", broadcast.round, reason)
            state = self._untrained(broadcast)
        federation = self.settings.federation
        shared = shared_entries(self.method, broadcast.weights, self._networks.batchnorm, federation, broadcast.round)
        if not shared:
            return Update(broadcast.round, self.id, {}, None, self.privacy.people), state
        trainer = self._trainer(broadcast)
        with open_ledger(self.privacy.ledger, epsilon=self.privacy.epsilon, delta=self.privacy.delta) as ledger:
            ledger.begin(self.privacy.run, broadcast.round)
            noised = noised_sum(
                self._sum(trainer),
                ledger,
                run=self.privacy.run,
                round_number=broadcast.round,
                # Under another agreement it is another release: the same noise in sums over other sites would leave
                # the difference of the two without it.
                model=_digest(broadcast) + self.privacy.agreement,
            )
        return self._noised_update(broadcast, shared, [*trainer.start], noised), state

    def _untrained(self, broadcast: Broadcast) -> PrivateState:
        """Return the former private state, or one with the received model, as that of this round."""
        context = self._prepare(broadcast)
        if context.state is not None:
            return replace(context.state, round=broadcast.round)
        prototypes = self.method.initial_prototypes(context)
        dfc = self.method.dfc(context, prototypes)
        return PrivateState(
            broadcast.round,
            broadcast.weights,
            prototypes,
            {} if dfc is None else dfc.state_dict(),
            identities=self.store.identities(self.private.identities),
        )

    def _noised_update(
        self, broadcast: Broadcast, shared: Collection[str], trained: Sequence[str], noised: Noised
    ) -> Update:
        """Return the update that holds a noised sum."""
        change = mean_change(noised, self.privacy.mechanism, self.privacy.people)
        weights = moved_weights(broadcast.weights, shared, trained, change)
        # As they were received: they are not trained, and what is sent has the form that the server expects.
        sends_prototypes = self.method.uses_public_prototypes and self.settings.federation.prototypes == "share"
        prototypes = broadcast.prototypes.clone() if sends_prototypes else None
        return Update(broadcast.round, self.id, weights, prototypes, self.privacy.people)

    def _trainer(self, broadcast: Broadcast) -> PersonTrainer:
        context = self._context(broadcast, None, self._networks.generic(broadcast))
        return PersonTrainer(
            self._networks.working(broadcast.weights),
            broadcast.weights,
            broadcast.prototypes,
            self.public.faces,
            context.models.public_features,
            self.privacy.threshold,
            self._plan(broadcast.round),
            self.settings.compute,
            self.method.classification_term(context),
        )

    def _sum(self, trainer: PersonTrainer) -> PersonSum:
        total = PersonSum(self.privacy.mechanism, self.privacy.people)
        start = trainer.start
        for person, key in enumerate(self.store.identities(self.private.identities)):
            rows = np.flatnonzero(self.private.labels == person)
            total.add(start, trainer.train(self.private, rows, key))
        return total


class SharingClient(PrivateClient):
    """A private client with a share of the noise: its update holds the noised sum, for a secure sum and nothing else.

    The caller must not send the update.
    """

    def forget_noise(self, round_number: int) -> None:
        """Erase the seed of the noise in a round, of which the noised sum is stored; it is not computed again."""
        with open_ledger(self.privacy.ledger, epsilon=self.privacy.epsilon, delta=self.privacy.delta) as ledger:
            ledger.accept(self.privacy.run, round_number)

    def _check_noise(self) -> None:
        if not self.privacy.agreement:
            raise FedfrError(f"{self.id}: noised sums for a secure sum need the hash of its agreement; it is empty")

    def _noised_update(
        self, broadcast: Broadcast, shared: Collection[str], trained: Sequence[str], noised: Noised
    ) -> Update:
        vector = torch.from_numpy(noised.view(np.int32))
        return Update(broadcast.round, self.id, {_NOISED: vector}, None, self.privacy.people)


class SummingClient(WithholdingClient, SharingClient):
    """A :class:`SharingClient` that stores the noised sum in its own folder; the update that is returned is empty."""


def vector_in(update: Update) -> Noised:
    """Return the noised sum that a :class:`SharingClient` returned, as a new vector to be masked."""
    return update.weights[_NOISED].numpy().view(np.uint32).copy()


def moved_weights(
    weights: Mapping[str, torch.Tensor],
    shared: Collection[str],
    trained: Sequence[str],
    change: npt.NDArray[np.float32],
) -> dict[str, torch.Tensor]:
    """Return the ``shared`` entries of a model, moved by a change of its ``trained`` ones, which is in their order."""
    moved = {name: value.clone() for name, value in weights.items() if name in shared}
    parts = torch.from_numpy(change).split([weights[name].numel() for name in trained])
    for name, part in zip(trained, parts, strict=True):
        if name in shared:
            before = weights[name]
            moved[name] = before + part.view(before.shape).to(before.dtype)
    return moved


def _digest(broadcast: Broadcast) -> bytes:
    """Return the SHA-256 of the model and the public prototypes of a broadcast."""
    found = hashlib.sha256()
    for name, value in [*sorted(broadcast.weights.items()), ("prototypes", broadcast.prototypes)]:
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.digest()
