"""One client: it trains on its own faces and returns an update; everything private stays in its store."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import torch
from torch import nn

from fedfr.config.schema import FederationConfig, LocalConfig
from fedfr.core.decimals import exact
from fedfr.core.errors import FedfrError
from fedfr.core.memory import peak_memory
from fedfr.core.rng import derive_seed
from fedfr.faces import FaceSet
from fedfr.federation.aggregation import Change
from fedfr.federation.messages import Broadcast, Update, named
from fedfr.federation.method import Method, RoundContext, build_network, shared_entries
from fedfr.federation.networks import Networks
from fedfr.federation.private_store import PrivateState, PrivateStore
from fedfr.federation.public_faces import PublicFaces
from fedfr.federation.update_format import compress
from fedfr.models import build_backbone
from fedfr.training.features import Compute, extract_features
from fedfr.training.finite import first_not_finite
from fedfr.training.loop import TrainingPlan, train
from fedfr.training.objective import Network
from fedfr.training.stored_features import StoredFeatures
from fedfr.training.training_set import TrainingSet

__all__ = ["Client", "ClientSettings"]

# What is said here stays on the client's machine.
_log = logging.getLogger("fedfr.client")


@dataclass(frozen=True)
class ClientSettings:
    """What a client must know besides its faces; the same for every client of a run."""

    backbone: str
    num_clients: int
    seed: int
    local: LocalConfig
    federation: FederationConfig
    compute: Compute


def decay_epoch(local: LocalConfig, round_number: int) -> int:
    """First epoch (0-based) of the round with the reduced learning rate (method, section 3.4).

    ``decay_epoch_first_round`` belongs to the adaptive schedule, and only to a first round that is longer than it.
    """
    epochs, own = local.epochs_in(round_number), local.decay_epoch_first_round
    if round_number == 1 and local.epochs == "adaptive" and own is not None and own < epochs:
        return own
    due = exact(local.decay_at) * epochs
    return math.ceil(due) if local.decay_rounding == "up" else math.floor(due)


def _copied(value: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU that goes to files and messages as it is."""
    return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _check_finite(update: Update, state: PrivateState) -> None:
    """Raise :class:`FedfrError` before anything is saved or sent that is no number: it would never leave again."""
    travelling = {"prototypes": update.prototypes, "identities": update.identities}
    sent = {
        **update.weights,
        **{f"scales of {name}": value for name, value in update.scales.items()},
        **{name: value for name, value in travelling.items() if value is not None},
    }
    # What travels as it is kept is the same tensor, and looked at once.
    looked_at = set(map(id, sent.values()))
    kept = {f"state/{name}": value for name, value in state.tensors().items() if id(value) not in looked_at}
    name = first_not_finite(sent | kept)
    if name is not None:
        text = f"{name} became NaN or infinite in round {update.round}; lower the learning rate"
        raise FedfrError(text, shareable=text)


class Client:
    """A participant with its private faces; :meth:`update` is one round at this client.

    ``networks`` may be shared with other clients that are served after this one in the same process.
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
    ) -> None:
        self.id = client_id
        self.private = private
        self.public = public
        self.method = method
        self.settings = settings
        self.store = store
        self._networks = networks or Networks(settings.backbone, settings.compute)

    def update(self, broadcast: Broadcast) -> Update:
        """Train on this round's faces and return what is shared; the private state is on disk before.

        Raises :class:`fedfr.core.errors.FedfrError` as :meth:`train` does, and when the state cannot be written.
        """
        update, state = self.train(broadcast)
        self.store.save(state)
        return update

    def train(self, broadcast: Broadcast) -> tuple[Update, PrivateState]:
        """Train on this round's faces (method, section 3): what is shared, and what is to be kept by the store.

        The update must not leave before the state is saved: a server that goes on from a round whose private state was
        lost could not be resumed. Both hold copies, the client may train again, and nothing but numbers. Raises
        :class:`fedfr.core.errors.FedfrError` when the broadcast does not fit the backbone, the private state is
        damaged, or training diverges.
        """
        started = time.perf_counter()
        settings, method = self.settings, self.method
        # First, for states of this round and later go: a broadcast that cannot be used must not cost any.
        self._networks.check(broadcast)
        self._check_public(broadcast)
        departed = self.store.erase_departed(self.private.identities)
        state = self.store.latest(before=broadcast.round)
        context = self._context(broadcast, state, self._generic(broadcast, state))
        identities = self.store.identities(self.private.identities)
        if state is not None:
            joined = len(set(identities) - set(state.identities or ()))
            if departed or joined:
                _log.warning("%s: %d identities left and were erased, %d joined", self.id, departed, joined)
            # The server's rows are in the order, and of the people, of the update that it took.
            same = broadcast.accepted == state.round and state.identities == identities
            state = state.arranged(identities, partial(method.initial_prototypes, context))
            given = broadcast.identities if same else None
            if given is not None and given.shape != state.prototypes.shape:
                given = None
            context = replace(context, state=state, identities=given)

        near = method.public_faces(context)
        pool = TrainingSet([(self.private, None, 0), (self.public.faces, near.numpy(), self.private.num_identities)])

        @lru_cache(maxsize=1)
        def upright() -> torch.Tensor:
            private = context.generic_features()
            return torch.cat([private, context.public_features()[near]]) if len(near) else private

        prototypes = method.starting_prototypes(context)
        # Before the network to train is loaded: until then the same one may hold the previous local backbone.
        global_features, previous_features = method.frozen_features(context, pool, upright)
        backbone = self._networks.working(method.starting_weights(context))
        self._freeze_batchnorm(backbone)
        network = build_network(method, context, backbone, prototypes)
        losses = train(
            network,
            pool,
            method.objective(context),
            replace(self._plan(broadcast.round), learns=method.learns(context)),
            settings.compute,
            global_features=global_features,
            previous_features=previous_features,
        )

        weights = {name: _copied(value) for name, value in self._networks.entries(backbone).items()}
        dfc = {} if network.dfc is None else {name: value.cpu() for name, value in network.dfc.state_dict().items()}
        private = network.private.detach().cpu()
        personal = self._personal(context) | {name: _copied(value) for name, value in method.keeps(context).items()}

        shared = shared_entries(method, weights, self._networks.batchnorm, settings.federation, broadcast.round)
        public = network.public if shared else None
        by_private = settings.federation.weights == "private"
        update = Update(
            broadcast.round,
            self.id,
            {name: weights[name] for name in weights if name in shared},
            None if public is None else public.detach().cpu(),
            len(self.private) if by_private else len(pool),
            {f"loss/{name}": value for name, value in losses.items()}
            | {
                "images/private": float(len(self.private)),
                "images/hard_negatives": float(len(near)),
                "epochs": float(settings.local.epochs_in(broadcast.round)),
                "seconds": time.perf_counter() - started,
                "peak_rss_bytes": peak_memory(),
            },
            private if method.reveals_identities and shared else None,
        )
        # A state that the server would refuse to have part in is not kept either.
        sent = broadcast.weights if update.prototypes is None else named(broadcast)
        change = Change(sent, self._networks.statistics, settings.federation.largest_change)
        change.check(replace(update, weights=weights))
        owed = {} if state is None or settings.federation.updates == "full" else state.rest_after(broadcast.accepted)
        packed = compress(update, broadcast, settings.federation.updates, owed)
        kept = PrivateState(broadcast.round, weights, private, dfc, personal, packed.rest, identities, owed)
        _check_finite(packed.update, kept)
        return packed.update, kept

    def _check_public(self, broadcast: Broadcast) -> None:
        """Refuse public prototypes that are not of the public identities here: labels would mean other rows."""
        there, here = len(broadcast.prototypes), self.public.faces.num_identities
        if self.method.uses_public_prototypes and there != here:
            text = f"the server has prototypes of {there} public identities, the public faces here show {here}"
            raise FedfrError(f"{self.id}: {text}; use the same public faces everywhere", text)

    def _personal(self, context: RoundContext) -> dict[str, torch.Tensor]:
        """The personal model that the method trains apart, in the network that the shared model has left."""
        personal = self.method.personal_training(context)
        if personal is None:
            return {}
        backbone = self._networks.working(personal.weights)
        self._freeze_batchnorm(backbone)
        network = Network(backbone, personal.prototypes.to(self.settings.compute.device))
        plan = self._plan(context.round)
        plan = replace(plan, purpose=("personal", *plan.purpose))
        train(network, TrainingSet([(self.private, None, 0)]), personal.objective, plan, self.settings.compute)
        weights = {f"backbone/{name}": _copied(value) for name, value in self._networks.entries(backbone).items()}
        return {**weights, "prototypes": network.private.detach().cpu()}

    def _freeze_batchnorm(self, backbone: nn.Module) -> None:
        """Under BatchNorm policy ``frozen`` its weights do not learn."""
        if self.settings.federation.batchnorm == "frozen":
            for name, parameter in backbone.named_parameters():
                parameter.requires_grad_(name not in self._networks.batchnorm)

    def _generic(self, broadcast: Broadcast, state: PrivateState | None) -> nn.Module:
        """The generic backbone, in evaluation mode; under BatchNorm policy ``local`` with this client's BatchNorm."""
        if self.settings.federation.batchnorm != "local" or state is None:
            return self._networks.generic(broadcast)
        return self._networks.generic(broadcast, {name: state.backbone[name] for name in self._networks.batchnorm})

    def _context(self, broadcast: Broadcast, state: PrivateState | None, generic: nn.Module) -> RoundContext:
        settings = self.settings
        own = TrainingSet([(self.private, None, 0)])

        @lru_cache(maxsize=1)
        def generic_features() -> torch.Tensor:
            return extract_features(generic, own, settings.compute)

        @lru_cache(maxsize=1)
        def public_features() -> StoredFeatures:
            # With a BatchNorm of its own the client sees the public faces differently from its neighbours.
            own_batchnorm = settings.federation.batchnorm == "local" and state is not None
            return self.public.features(generic, settings.compute, own=own_batchnorm)

        def with_weights(weights: Mapping[str, torch.Tensor]) -> nn.Module:
            return self._networks.working(weights)

        def new_backbone(seed: int) -> nn.Module:
            made = build_backbone(settings.backbone, derive_seed(settings.seed, "backbone", self.id, seed))
            return settings.compute.place(made)

        return RoundContext(
            round=broadcast.round,
            rounds=settings.federation.rounds,
            client=self.id,
            num_clients=settings.num_clients,
            seed=settings.seed,
            private=self.private,
            public=self.public.faces,
            weights=self._networks.entries(generic),
            own=self._networks.batchnorm if settings.federation.batchnorm == "local" else frozenset(),
            prototypes=broadcast.prototypes,
            identities=None,
            state=state,
            generic=generic,
            local=settings.local,
            compute=settings.compute,
            generic_features=generic_features,
            public_features=public_features,
            with_weights=with_weights,
            new_backbone=new_backbone,
        )

    def _plan(self, round_number: int) -> TrainingPlan:
        local = self.settings.local
        decay = decay_epoch(local, round_number)

        def learning_rate(epoch: int, progress: float) -> float:
            return local.learning_rate * (local.decay_factor if epoch >= decay else 1.0)

        return TrainingPlan(
            epochs=local.epochs_in(round_number),
            batch_size=local.batch_size,
            learning_rate=learning_rate,
            momentum=local.momentum,
            weight_decay=local.weight_decay,
            seed=self.settings.seed,
            purpose=("local", round_number, self.id),
            flip=local.flip,
            freeze_batchnorm=self.settings.federation.batchnorm == "frozen",
        )
