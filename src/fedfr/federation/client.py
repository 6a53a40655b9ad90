"""A client of the federation: local training on private faces, and the update it returns."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial

import torch
from torch import nn

from fedfr.core.errors import FedfrError
from fedfr.core.memory import peak_memory
from fedfr.faces import FaceSet
from fedfr.federation.aggregation import ChangeLimit
from fedfr.federation.local_plan import local_plan, work
from fedfr.federation.messages import Broadcast, Update, tensors_by_name
from fedfr.federation.method import Method, build_network, round_objective, shared_entries
from fedfr.federation.networks import Networks
from fedfr.federation.private_state import PROJECTION, PUBLIC_PROTOTYPES, PrivateState
from fedfr.federation.private_store import PrivateStore
from fedfr.federation.public_faces import PublicFaces
from fedfr.federation.round_context import ClientSettings, RoundContext, RoundModels
from fedfr.federation.update_format import compress
from fedfr.training.batchnorm import train_all_but
from fedfr.training.finite import first_not_finite
from fedfr.training.loop import TrainingPlan, train
from fedfr.training.objective import Network
from fedfr.training.training_set import TrainingSet

__all__ = ["Client", "ClientSettings"]

# The client's own log; it stays on the client's machine.
_log = logging.getLogger("fedfr.client")


def _cpu_copy(value: torch.Tensor) -> torch.Tensor:
    """Return a contiguous copy on the CPU, ready for files and messages."""
    return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _check_finite(update: Update, state: PrivateState) -> None:
    """Raise :class:`FedfrError` if the update or the private state holds NaN or infinity; neither may be saved."""
    optional = {"prototypes": update.prototypes, "identities": update.identities}
    sent = {
        **update.weights,
        **{f"scales of {name}": value for name, value in update.scales.items()},
        **{name: value for name, value in optional.items() if value is not None},
    }
    # A tensor that is both sent and saved is checked once.
    checked = set(map(id, sent.values()))
    kept = {f"state/{name}": value for name, value in state.tensors().items() if id(value) not in checked}
    name = first_not_finite(sent | kept)
    if name is not None:
        text = f"{name} became NaN or infinite in round {update.round}; lower the learning rate"
        raise FedfrError(text, shareable=text)


class Client:
    """A participant with its private faces; :meth:`update` runs one round.

    ``networks`` may be shared with other clients that run after this one in the same process.
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
        """Train for one round, save the private state, and return the update.

        Raises :class:`fedfr.core.errors.FedfrError` as :meth:`train` does, and when the state cannot be written.
        """
        update, state = self.train(broadcast)
        self.store.save(state)
        return update

    def train(self, broadcast: Broadcast) -> tuple[Update, PrivateState]:
        """Train for one round (method, section 3); return the update and the private state to save.

        Save the state before sending the update: if the server continued from a round whose private state was lost,
        the run could not be resumed. Both results hold copies, so the client may train again. Raises
        :class:`fedfr.core.errors.FedfrError` when the broadcast does not fit the backbone, the private state is
        damaged, or training diverges.
        """
        started, processor = time.perf_counter(), time.process_time()
        settings, method = self.settings, self.method
        # Check first: reading the state discards states of this round and later.
        self._networks.check(broadcast)
        self._check_public(broadcast)
        context = self._prepare(broadcast)

        hard_negatives = method.public_faces(context)
        training_set = TrainingSet(
            [(self.private, None, 0), (self.public.faces, hard_negatives.numpy(), self.private.num_identities)]
        )
        prototypes = method.starting_prototypes(context)
        # Before the network to train is loaded: until then it may hold the previous local backbone.
        global_features, previous_features = method.frozen_features(
            context, training_set, _upright_features(context, hard_negatives)
        )
        backbone = self._networks.working(method.starting_weights(context))
        self._freeze_batchnorm(backbone)
        network = build_network(method, context, backbone, prototypes)
        plan = replace(self._plan(broadcast.round), learns=method.learns(context))
        losses = train(
            network,
            training_set,
            round_objective(method, context),
            plan,
            settings.compute,
            global_features=global_features,
            previous_features=previous_features,
            fixed_features=None if method.trains_backbone else global_features,
        )

        state = self._new_state(context, network)
        update = self._new_update(
            broadcast, network, state, count=len(training_set), hard_negatives=len(hard_negatives)
        )
        metrics = {f"loss/{name}": value for name, value in losses.items()} | {**update.metrics}
        metrics |= work(plan, len(training_set), *([len(self.private)] if state.personal_backbone else []))
        metrics |= {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - processor}
        metrics |= self._feature_costs(context)
        metrics |= {"peak_rss_bytes": peak_memory()}
        update = replace(update, metrics=metrics)
        # A change that the server would refuse is not saved either.
        sent = broadcast.weights if update.prototypes is None else tensors_by_name(broadcast)
        change_limit = ChangeLimit(sent, self._networks.statistics, settings.federation.largest_change)
        change_limit.check(replace(update, weights=state.backbone))
        residual: Mapping[str, torch.Tensor] = {}
        if context.state is not None and settings.federation.updates != "full":
            residual = context.state.residual_after(broadcast.accepted)
        compressed = compress(update, broadcast, settings.federation.updates, residual)
        state = replace(state, residual=compressed.residual, previous_residual=residual)
        _check_finite(compressed.update, state)
        return compressed.update, state

    def chosen_public_faces(self, broadcast: Broadcast) -> torch.Tensor:
        """Return the indices of the public faces that :meth:`train` would train on, and train nothing."""
        self._networks.check(broadcast)
        self._check_public(broadcast)
        return self.method.public_faces(self._prepare(broadcast))

    def _check_public(self, broadcast: Broadcast) -> None:
        """Refuse a broadcast with a different number of public prototypes than there are public identities here."""
        received, present = len(broadcast.prototypes), self.public.faces.num_identities
        if self.method.uses_public_prototypes and received != present:
            text = f"the server sent prototypes of {received} public identities, the public faces here have {present}"
            raise FedfrError(f"{self.id}: {text}; use the same public faces everywhere", text)

    def _prepare(self, broadcast: Broadcast) -> RoundContext:
        """Return the method's inputs, with the previous private state arranged for the present identities."""
        departed = self.store.erase_departed(self.private.identities)
        state = self.store.latest(before=broadcast.round)
        broadcast = self._own_model(broadcast, state)
        context = self._context(broadcast, state, self._generic(broadcast, state))
        identities = self.store.identities(self.private.identities)
        if state is None:
            return context
        joined = len(set(identities) - set(state.identities or ()))
        if departed or joined:
            _log.warning("%s: %d identities left and were erased, %d joined", self.id, departed, joined)
        # The server's rows follow the identities, and their order, of the last update that it accepted.
        same = broadcast.accepted == state.round and state.identities == identities
        state = state.for_identities(identities, partial(self.method.initial_prototypes, context))
        revealed = broadcast.identities if same else None
        if revealed is not None and revealed.shape != state.prototypes.shape:
            revealed = None
        return replace(context, state=state, identities=revealed)

    def _own_model(self, broadcast: Broadcast, state: PrivateState | None) -> Broadcast:
        """Return the broadcast, with the client's own model in it if the method has the client continue from that."""
        if state is None or not self.method.own_model:
            return broadcast
        prototypes = state.personal.get(PUBLIC_PROTOTYPES, broadcast.prototypes)
        own = replace(broadcast, weights=state.backbone, prototypes=prototypes)
        self._check_public(own)
        return own

    def _context(self, broadcast: Broadcast, state: PrivateState | None, generic: nn.Module) -> RoundContext:
        settings, own_batchnorm = self.settings, self.settings.federation.batchnorm == "local"
        own = (own_batchnorm or self.method.own_model) and state is not None
        return RoundContext(
            round=broadcast.round,
            client=self.id,
            settings=settings,
            private=self.private,
            public=self.public.faces,
            weights=self._networks.entries(generic),
            prototypes=broadcast.prototypes,
            identities=None,
            local_entries=self._networks.batchnorm if own_batchnorm else frozenset(),
            state=state,
            models=RoundModels(generic, self._networks, settings, self.id, self.private, self.public, own=own),
        )

    def _new_state(self, context: RoundContext, network: Network) -> PrivateState:
        """Return the private state after training; runs the method's personal training, where it has one."""
        weights = {name: _cpu_copy(value) for name, value in self._networks.entries(network.backbone).items()}
        dfc = {} if network.dfc is None else {name: value.cpu() for name, value in network.dfc.state_dict().items()}
        prototypes = network.private.detach().cpu()
        personal = self._personal(context)
        personal |= {name: _cpu_copy(value) for name, value in self.method.extra_state(context).items()}
        if network.projection is not None:
            head = network.projection.state_dict()
            personal |= {f"{PROJECTION}{name}": _cpu_copy(value) for name, value in head.items()}
        if self.method.own_model and network.public is not None and self.settings.federation.prototypes == "share":
            personal[PUBLIC_PROTOTYPES] = _cpu_copy(network.public)
        identities = self.store.identities(self.private.identities)
        return PrivateState(context.round, weights, prototypes, dfc, personal, identities=identities)

    def _new_update(
        self, broadcast: Broadcast, network: Network, state: PrivateState, *, count: int, hard_negatives: int
    ) -> Update:
        """Return the update with what the method shares, uncompressed, without losses and costs."""
        method, federation, weights = self.method, self.settings.federation, state.backbone
        shared = shared_entries(method, weights, self._networks.batchnorm, federation, broadcast.round)
        public = network.public if shared and federation.prototypes == "share" else None
        sent = {name: weights[name] for name in weights if name in shared}
        if federation.weights == "equal":
            # BatchNorm counts its steps, from which the number of images could be computed.
            counters = [
                name for name in sent if name in self._networks.statistics and not sent[name].is_floating_point()
            ]
            sent |= {name: broadcast.weights[name] for name in counters}
        counts = {"trained": count, "private": len(self.private), "equal": 1}
        return Update(
            broadcast.round,
            self.id,
            sent,
            None if public is None else public.detach().cpu(),
            counts[federation.weights],
            {
                "images/private": float(len(self.private)),
                "images/hard_negatives": float(hard_negatives),
            },
            state.prototypes if method.reveals_identities and shared else None,
        )

    def _personal(self, context: RoundContext) -> dict[str, torch.Tensor]:
        """Train the method's separate personal model; it reuses the network of the shared model."""
        personal = self.method.personal_training(context)
        if personal is None:
            return {}
        backbone = self._networks.working(personal.weights)
        self._freeze_batchnorm(backbone)
        network = Network(backbone, personal.prototypes.to(self.settings.compute.device))
        plan = self._plan(context.round)
        plan = replace(plan, purpose=("personal", *plan.purpose))
        train(network, TrainingSet([(self.private, None, 0)]), personal.objective, plan, self.settings.compute)
        weights = {f"backbone/{name}": _cpu_copy(value) for name, value in self._networks.entries(backbone).items()}
        return {**weights, "prototypes": network.private.detach().cpu()}

    def _feature_costs(self, context: RoundContext) -> dict[str, float]:
        """Return the seconds spent on features of public faces, and those of a client that shares them with nobody.

        Such a client computes them in every round; in its first one only if the method leaves the backbone as it is.
        """
        models = context.models
        kept = context.state is not None and not self.method.trains_backbone
        alone = 0.0 if kept else models.feature_seconds_alone
        known = {} if alone is None else {"feature_seconds_alone": alone}
        return {"feature_seconds": models.feature_seconds, **known}

    def _freeze_batchnorm(self, backbone: nn.Module) -> None:
        """Exclude BatchNorm parameters from training under the policy ``frozen``."""
        if self.settings.federation.batchnorm == "frozen":
            train_all_but(backbone, self._networks.batchnorm)

    def _generic(self, broadcast: Broadcast, state: PrivateState | None) -> nn.Module:
        """Return the generic backbone in evaluation mode; under the policy ``local`` with this client's BatchNorm."""
        if self.settings.federation.batchnorm != "local" or state is None:
            return self._networks.generic(broadcast)
        return self._networks.generic(broadcast, {name: state.backbone[name] for name in self._networks.batchnorm})

    def _plan(self, round_number: int) -> TrainingPlan:
        return local_plan(self.settings, round_number, self.id)


def _upright_features(context: RoundContext, hard_negatives: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Return a function for the features under θ^t of the unflipped private images, then hard negatives."""

    @lru_cache(maxsize=1)
    def features() -> torch.Tensor:
        private = context.models.private_features
        return torch.cat([private, context.models.public_features[hard_negatives]]) if len(hard_negatives) else private

    return features
