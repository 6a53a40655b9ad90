"""Base class of federated methods; the defaults are FedAvg's (McMahan et al., AISTATS 2017)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from fedfr.config.schema import FederationConfig, LocalConfig, MethodSettings, validate
from fedfr.core.errors import FedfrError
from fedfr.core.rng import torch_generator
from fedfr.core.short_repr import Brief
from fedfr.faces import Split
from fedfr.federation.private_state import PrivateState
from fedfr.federation.round_context import RoundContext
from fedfr.models.heads import DFC
from fedfr.training.classification import classification_term, loss_of
from fedfr.training.features import FrozenFeatures, mean_features
from fedfr.training.loop import Moment
from fedfr.training.objective import Network, Objective, Term
from fedfr.training.training_set import TrainingSet

__all__ = [
    "GenericModel",
    "Method",
    "MethodSettings",
    "PersonalTraining",
    "RoundContext",
    "revealed_key",
    "shared_entries",
]


@dataclass(frozen=True, repr=False)
class GenericModel(Brief):
    """The server's model: backbone weights θ and public prototypes Φ_g (K_g × D).

    ``server_state`` holds further tensors of the server, kept from round to round and written to the journal: moments
    of an optimizer, private prototypes that a method reveals (``identities/<client>``).
    """

    weights: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor
    server_state: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class PersonalTraining(Brief):
    """Starting point and objective of a personal model trained beside the shared one, which is never sent.

    It trains on the private faces only, for as many epochs, or ``local.steps``, as the shared model.
    """

    weights: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor
    objective: Objective


class Method:
    """Base class of all methods; without overrides it is FedAvg on the private faces.

    ``generic_model`` and ``personal_model`` name the server's and the clients' models in results; None where the method
    has no such model. ``reveals_identities``: clients send their private prototypes to the server, which breaks the
    privacy of section 1; ``privacy`` is the warning shown to the user. ``uses_logits``: the method changes the logits
    of the classification, so that a loss of another package must return them. ``own_model``: from its second
    participation, each client continues from its own backbone and public prototypes, and the server's are not used.
    ``trains_backbone``: if false, the backbone keeps its weights, and the heads train on the features under θ^t that
    :meth:`frozen_features` returns first. ``starts_untrained``: the method starts from the checkpoint ``model.start``
    as it is, and not from the model that pre-training makes of it. ``lone_model``: where nothing is shared, the name of
    each client's own backbone in results of generic protocols; None where it is not evaluated by them.
    """

    settings_type: ClassVar[type[MethodSettings]] = MethodSettings
    generic_model: ClassVar[str | None] = "generic"
    personal_model: ClassVar[str | None] = "personalized"
    reveals_identities: ClassVar[bool] = False
    privacy: ClassVar[str] = ""
    uses_public_prototypes: bool = False
    uses_logits: bool = False
    own_model: ClassVar[bool] = False
    trains_backbone: ClassVar[bool] = True
    starts_untrained: ClassVar[bool] = False
    lone_model: ClassVar[str | None] = None

    def __init__(self, settings: Mapping[str, Any], where: str = "method") -> None:
        self.settings = validate(self.settings_type, settings, where)

    @property
    def needs_public_faces(self) -> bool:
        """Whether clients need the public faces; by default if public identities are classes."""
        return self.uses_public_prototypes

    def rounds(self, configured: int) -> int:
        """Return the number of rounds to run."""
        return configured

    def participants(self, split: Split) -> dict[str, Sequence[int]]:
        """Return the training images of each participant; by default, one participant per client."""
        return {client: faces.train for client, faces in split.clients.items()}

    def shares_in(self, round_number: int, configured: int) -> bool:
        """Return whether clients share weights in this round; if not, every client trains on its own."""
        return True

    def starting_weights(self, context: RoundContext) -> Mapping[str, torch.Tensor]:
        """Return the weights that local training starts from: θ^t, with the client's own for entries not shared."""
        if context.state is None:
            return context.weights
        shared, own = self.shares(context.weights), context.state.backbone
        return {name: value if name in shared else own[name] for name, value in context.weights.items()}

    def public_faces(self, context: RoundContext) -> torch.Tensor:
        """Return the indices of the public faces to train on; by default none."""
        return torch.empty(0, dtype=torch.int64)

    def initial_prototypes(self, context: RoundContext) -> torch.Tensor:
        """Return Φ_i for the first participation: mean feature per identity under θ^t, or N(0, 0.01²)."""
        count, dim = context.private.num_identities, context.prototypes.shape[1]
        if self.settings.prototypes == "random":
            generator = torch_generator(context.settings.seed, "prototypes", context.client)
            return 0.01 * torch.randn(count, dim, generator=generator)
        labels = torch.from_numpy(context.private.labels.copy())
        return mean_features(context.models.private_features, labels, count)

    def starting_prototypes(self, context: RoundContext) -> torch.Tensor:
        """Return Φ_i that local training starts from: those of the client's previous participation."""
        return self.initial_prototypes(context) if context.state is None else context.state.prototypes

    def has_public_classes(self, context: RoundContext) -> bool:
        """Return whether public identities are classes of the softmax in this round."""
        return self.uses_public_prototypes

    def dfc(self, context: RoundContext, prototypes: torch.Tensor) -> DFC | None:
        """Return the client's DFC module for this round, or None."""
        return None

    def projection(self, context: RoundContext) -> nn.Module | None:
        """Return the client's projection head of the contrastive term for this round, or None."""
        return None

    def objective(self, context: RoundContext) -> Objective:
        """Return the objective of local training; by default :meth:`classification_term` alone."""
        return Objective([self.classification_term(context)])

    def classification_term(self, context: RoundContext, *, weight: float = 1.0, negative_repeats: int = 0) -> Term:
        """Return the term L_cos, or the one that ``local.loss`` names in its place."""
        local = context.settings.local
        return classification_term(
            local.loss, local.scale, local.margin, weight=weight, negative_repeats=negative_repeats
        )

    def frozen_features(
        self, context: RoundContext, training_set: TrainingSet, upright: Callable[[], torch.Tensor]
    ) -> tuple[FrozenFeatures | None, FrozenFeatures | None]:
        """Return features under the global and the previous local backbone, if the objective needs them.

        ``upright`` returns the unflipped features of the training set under θ^t.
        """
        return None, None

    def learns(self, context: RoundContext) -> Callable[[Moment, str], bool] | None:
        """Return a predicate (position in the round, parameter name) that selects the parameters of each step.

        None trains all parameters in every step.
        """
        return None

    def personal_training(self, context: RoundContext) -> PersonalTraining | None:
        """Return the training of a separate personal model, run after the shared model's, or None."""
        return None

    def extra_state(self, context: RoundContext) -> Mapping[str, torch.Tensor]:
        """Return further tensors for the client's private state, under names that begin with ``teacher/``."""
        return {}

    def shares(self, entries: Mapping[str, torch.Tensor]) -> frozenset[str]:
        """Return the names of the backbone entries (given in network order) to share and average; by default all."""
        return frozenset(entries)

    def personal_modules(self, state: PrivateState) -> DFC | None:
        """Return the DFC module that follows the local backbone in the personalized model, or None."""
        return None

    def server_step(self, generic: GenericModel, average: GenericModel) -> GenericModel:
        """Return the next generic model from the present one and the clients' average; by default the average."""
        return average


def revealed_key(client: str) -> str:
    """Return the name of a client's revealed prototypes in the server state of :class:`GenericModel`."""
    return f"identities/{client}"


def shared_entries(
    method: Method,
    entries: Mapping[str, torch.Tensor],
    batchnorm: frozenset[str],
    federation: FederationConfig,
    round_number: int,
) -> frozenset[str]:
    """Return the names of ``entries`` to share: the method's choice, without ``batchnorm`` unless it is averaged."""
    if not method.shares_in(round_number, federation.rounds):
        return frozenset()
    return method.shares(entries) - (frozenset() if federation.batchnorm == "average" else batchnorm)


def chosen_loss(local: LocalConfig) -> str | None:
    """Return the loss that replaces the default one; None if ``local.loss`` was left at its default."""
    return None if local.loss == LocalConfig.model_fields["loss"].default else local.loss


def round_objective(method: Method, context: RoundContext) -> Objective:
    """Return the objective of a round; raises :class:`FedfrError` if it ignores a ``local.loss`` that was chosen."""
    objective, chosen = method.objective(context), chosen_loss(context.settings.local)
    if chosen is not None and chosen not in map(loss_of, objective.terms):
        text = (
            f"local.loss = {chosen!r}: the method has a loss of its own and does not use it; leave the setting out for "
            "this method, or use Method.classification_term in its objective"
        )
        raise FedfrError(text, shareable=text)
    return objective


def build_network(method: Method, context: RoundContext, backbone: nn.Module, prototypes: torch.Tensor) -> Network:
    """Build the network of a round: the backbone and the heads that the method trains, on the device."""
    device = context.settings.compute.device
    public = context.prototypes.to(device) if method.has_public_classes(context) else None
    dfc = method.dfc(context, prototypes)
    # Only the heads are moved: the backbone is on the device, and visiting each of its layers costs more than moving.
    projection = method.projection(context)
    return Network(
        backbone,
        prototypes.to(device),
        public,
        None if dfc is None else dfc.to(device),
        None if projection is None else projection.to(device),
    )
