"""What a federated method is: its differences. The defaults here are FedAvg's (McMahan et al., AISTATS 2017)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from fedfr.config.schema import FederationConfig, LocalConfig, MethodSettings, validate
from fedfr.core.rng import torch_generator
from fedfr.core.short_repr import Brief
from fedfr.faces import FaceSet, Split
from fedfr.federation.private_store import PrivateState
from fedfr.models.heads import DFC
from fedfr.training.features import Compute, FrozenFeatures, mean_features
from fedfr.training.objective import MarginSoftmax, Network, Objective
from fedfr.training.stored_features import StoredFeatures
from fedfr.training.training_set import TrainingSet

__all__ = [
    "Generic",
    "Method",
    "MethodSettings",
    "PersonalTraining",
    "RoundContext",
    "batchnorm_entries",
    "batchnorm_statistics",
    "identities_of",
    "shared_entries",
]


@dataclass(frozen=True, repr=False)
class Generic(Brief):
    """The server's model: backbone state θ and public prototypes Φ_g (K_g × D).

    ``kept`` is what the server remembers besides from round to round: an optimizer's moments, prototypes of clients
    that a method revealed (``identities/<client>``). It is written to the journal with the model.
    """

    weights: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor
    kept: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class PersonalTraining(Brief):
    """A second training of a round, of a personal model that is never shared: where it starts and what it minimizes.

    It trains on the private faces alone, as long as the shared model does.
    """

    weights: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor
    objective: Objective


@dataclass(frozen=True, repr=False)
class RoundContext(Brief):
    """What a method may look at on a client during one round.

    ``generic`` is the backbone with θ^t (``weights``) in evaluation mode, not to be changed; ``own`` names the entries
    that stay at the client, its BatchNorm under policy ``local``, and are its own as soon as it has some.
    ``generic_features`` and ``public_features`` compute upright features under it of the private and the public faces
    when first asked. ``with_weights`` lends the backbone with other weights in evaluation mode, until training begins;
    ``new_backbone`` builds one with initial weights of a seed. ``rounds`` is how many are configured. ``identities``
    are the private prototypes as the server sent them back, where the method reveals them.
    """

    round: int
    rounds: int
    client: str
    num_clients: int
    seed: int
    private: FaceSet
    public: FaceSet
    weights: Mapping[str, torch.Tensor]
    own: frozenset[str]
    prototypes: torch.Tensor
    identities: torch.Tensor | None
    state: PrivateState | None
    generic: nn.Module
    local: LocalConfig
    compute: Compute
    generic_features: Callable[[], torch.Tensor]
    public_features: Callable[[], StoredFeatures]
    with_weights: Callable[[Mapping[str, torch.Tensor]], nn.Module]
    new_backbone: Callable[[int], nn.Module]


class Method:
    """Base of all methods; overriding nothing gives FedAvg on the private faces alone.

    ``generic_model`` and ``personal_model`` are the names under which results of the server's and of the clients'
    models are reported; None where the method has no such model. ``reveals_identities``: the client's private
    prototypes go to the server, which breaks the privacy of section 1; ``privacy`` then says so to whoever chose it.
    """

    settings_type: ClassVar[type[MethodSettings]] = MethodSettings
    generic_model: ClassVar[str | None] = "generic"
    personal_model: ClassVar[str | None] = "personalized"
    reveals_identities: ClassVar[bool] = False
    privacy: ClassVar[str] = ""
    uses_public_prototypes: bool = False

    def __init__(self, settings: Mapping[str, Any], where: str = "method") -> None:
        self.settings = validate(self.settings_type, settings, where)

    def rounds(self, configured: int) -> int:
        """How many rounds the method runs."""
        return configured

    def participants(self, split: Split) -> dict[str, Sequence[int]]:
        """Training images by participant: one participant per client."""
        return {client: faces.train for client, faces in split.clients.items()}

    def shares_in(self, round_number: int, configured: int) -> bool:
        """Whether clients share in this round; in one where they do not, every client takes part for itself."""
        return True

    def starting_weights(self, context: RoundContext) -> Mapping[str, torch.Tensor]:
        """Backbone that local training starts from: θ^t, and what is not shared as the client had it."""
        if context.state is None:
            return context.weights
        shared, own = self.shares(context.weights), context.state.backbone
        return {name: value if name in shared else own[name] for name, value in context.weights.items()}

    def public_faces(self, context: RoundContext) -> torch.Tensor:
        """Indices of the public faces to train on: none."""
        return torch.empty(0, dtype=torch.int64)

    def initial_prototypes(self, context: RoundContext) -> torch.Tensor:
        """Φ_i at the first participation: mean feature of each identity under θ^t, or N(0, 0.01²)."""
        count, dim = context.private.num_identities, context.prototypes.shape[1]
        if self.settings.prototypes == "random":
            generator = torch_generator(context.seed, "prototypes", context.client)
            return 0.01 * torch.randn(count, dim, generator=generator)
        labels = torch.from_numpy(context.private.labels.copy())
        return mean_features(context.generic_features(), labels, count)

    def starting_prototypes(self, context: RoundContext) -> torch.Tensor:
        """Φ_i that local training starts from: those of the client's last participation."""
        return self.initial_prototypes(context) if context.state is None else context.state.prototypes

    def dfc(self, context: RoundContext, prototypes: torch.Tensor) -> DFC | None:
        """The client's DFC module for this round, or None."""
        return None

    def objective(self, context: RoundContext) -> Objective:
        """What local training minimizes: CosFace."""
        return Objective([MarginSoftmax(scale=context.local.scale, margin=context.local.margin)])

    def frozen_features(
        self, context: RoundContext, pool: TrainingSet, upright: Callable[[], torch.Tensor]
    ) -> tuple[FrozenFeatures | None, FrozenFeatures | None]:
        """Features of the pool under the global and the previous local backbone, where the objective needs them.

        ``upright`` gives the unflipped features of the pool under θ^t.
        """
        return None, None

    def learns(self, context: RoundContext) -> Callable[[int, str], bool] | None:
        """Which parameters learn in which epoch: called with epoch (0, 1, …) and the parameter's name in the network.

        None: all of them in every epoch.
        """
        return None

    def personal_training(self, context: RoundContext) -> PersonalTraining | None:
        """A second training after the shared model's, for a personal model of its own, or None."""
        return None

    def keeps(self, context: RoundContext) -> Mapping[str, torch.Tensor]:
        """What the client keeps for its next rounds beside its model, under names that begin with ``teacher/``."""
        return {}

    def shares(self, entries: Mapping[str, torch.Tensor]) -> frozenset[str]:
        """Names of the backbone's entries (given in the network's order) that travel and are averaged: all."""
        return frozenset(entries)

    def personal_modules(self, state: PrivateState) -> DFC | None:
        """The DFC module that the personalized model puts behind the local backbone, or None."""
        return None

    def server_step(self, generic: Generic, average: Generic) -> Generic:
        """Next generic model from the present one and the clients' average: the average."""
        return average


def identities_of(client: str) -> str:
    """Under which name :class:`Generic` keeps the private prototypes that a client revealed."""
    return f"identities/{client}"


def batchnorm_statistics(backbone: nn.Module) -> frozenset[str]:
    """Entries of every BatchNorm layer that are no parameters: running mean, variance, counter."""
    parameters = {name for name, _ in backbone.named_parameters()}
    return batchnorm_entries(backbone) - parameters


def batchnorm_entries(backbone: nn.Module) -> frozenset[str]:
    """State entries (affine and statistics) of every BatchNorm layer."""
    names: set[str] = set()
    for prefix, module in backbone.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            names.update(f"{prefix}.{entry}" for entry in module.state_dict())
    return frozenset(names)


def shared_entries(
    method: Method,
    entries: Mapping[str, torch.Tensor],
    batchnorm: frozenset[str],
    federation: FederationConfig,
    round_number: int,
) -> frozenset[str]:
    """Which of the backbone's ``entries`` travel: what the method shares, and ``batchnorm`` if it is averaged."""
    if not method.shares_in(round_number, federation.rounds):
        return frozenset()
    return method.shares(entries) - (frozenset() if federation.batchnorm == "average" else batchnorm)


def build_network(method: Method, context: RoundContext, backbone: nn.Module, prototypes: torch.Tensor) -> Network:
    """Backbone with the heads the method trains in this round, all on the device."""
    device = context.compute.device
    public = context.prototypes.to(device) if method.uses_public_prototypes else None
    dfc = method.dfc(context, prototypes)
    # The heads alone: the backbone is there, and looking at each of its layers takes longer than moving the heads.
    return Network(backbone, prototypes.to(device), public, None if dfc is None else dfc.to(device))
