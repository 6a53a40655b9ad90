"""What a federated method is: its differences. The defaults here are FedAvg's (McMahan et al., AISTATS 2017)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from fedfr.config import FederationConfig, LocalConfig, MethodSettings, validate
from fedfr.faces import FaceSet, Split
from fedfr.federation.private_store import PrivateState
from fedfr.models.heads import DFC
from fedfr.rng import torch_generator
from fedfr.training.features import Compute, FrozenFeatures
from fedfr.training.objective import MarginSoftmax, Network, Objective
from fedfr.training.pool import FacePool
from fedfr.training.stored_features import StoredFeatures

__all__ = ["Generic", "Method", "MethodSettings", "RoundContext", "batchnorm_entries", "shared_entries"]


@dataclass(frozen=True)
class Generic:
    """The server's model: backbone state θ and public prototypes Φ_g (K_g × D)."""

    weights: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor


@dataclass(frozen=True)
class RoundContext:
    """What a method may look at on a client during one round.

    ``generic`` is the backbone with θ^t (``weights``) in evaluation mode, not to be changed. ``generic_features`` and
    ``public_features`` compute upright features under it of the private and the public faces when first asked.
    ``with_weights`` lends the backbone with other weights in evaluation mode, until training begins; ``new_backbone``
    builds one with initial weights of a seed.
    """

    round: int
    client: str
    num_clients: int
    seed: int
    private: FaceSet
    public: FaceSet
    weights: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor
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
    models are reported; None where the method has no such model.
    """

    settings_type: ClassVar[type[MethodSettings]] = MethodSettings
    generic_model: ClassVar[str | None] = "generic"
    personal_model: ClassVar[str | None] = "personalized"
    uses_public_prototypes: bool = False

    def __init__(self, settings: Mapping[str, Any], where: str = "method") -> None:
        self.settings = validate(self.settings_type, settings, where)

    def rounds(self, configured: int) -> int:
        """How many rounds the method runs."""
        return configured

    def participants(self, split: Split) -> dict[str, tuple[int, ...]]:
        """Training images by participant: one participant per client."""
        return {client: faces.train for client, faces in split.clients.items()}

    def starting_weights(self, context: RoundContext) -> Mapping[str, torch.Tensor]:
        """Backbone that local training starts from: θ^t."""
        return context.weights

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
        sums = torch.zeros(count, dim).index_add_(0, labels, context.generic_features())
        return sums / torch.bincount(labels, minlength=count)[:, None]

    def dfc(self, context: RoundContext, prototypes: torch.Tensor) -> DFC | None:
        """The client's DFC module for this round, or None."""
        return None

    def objective(self, context: RoundContext) -> Objective:
        """What local training minimises: CosFace."""
        return Objective([MarginSoftmax(scale=context.local.scale, margin=context.local.margin)])

    def frozen_features(
        self, context: RoundContext, pool: FacePool, upright: Callable[[], torch.Tensor]
    ) -> tuple[FrozenFeatures | None, FrozenFeatures | None]:
        """Features of the pool under the global and the previous local backbone, where the objective needs them.

        ``upright`` gives the unflipped features of the pool under θ^t.
        """
        return None, None

    def shares(self, entry: str) -> bool:
        """Whether the backbone's entry travels to the server and is averaged."""
        return True

    def personal_modules(self, state: PrivateState) -> DFC | None:
        """The DFC module that the personalised model puts behind the local backbone, or None."""
        return None

    def server_step(self, generic: Generic, average: Generic) -> Generic:
        """Next generic model from the present one and the clients' average: the average."""
        return average


def batchnorm_entries(backbone: nn.Module) -> frozenset[str]:
    """State entries (affine and statistics) of every BatchNorm layer."""
    names: set[str] = set()
    for prefix, module in backbone.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            names.update(f"{prefix}.{entry}" for entry in module.state_dict())
    return frozenset(names)


def shared_entries(
    method: Method, entries: Iterable[str], batchnorm: frozenset[str], federation: FederationConfig
) -> frozenset[str]:
    """Which of the backbone's ``entries`` travel: what the method shares, and ``batchnorm`` if it is averaged."""
    average = federation.batchnorm == "average"
    return frozenset(name for name in entries if (average or name not in batchnorm) and method.shares(name))


def build_network(method: Method, context: RoundContext, backbone: nn.Module, prototypes: torch.Tensor) -> Network:
    """Backbone with the heads the method trains in this round, all on the device."""
    device = context.compute.device
    public = context.prototypes.to(device) if method.uses_public_prototypes else None
    dfc = method.dfc(context, prototypes)
    # The heads alone: the backbone is there, and looking at each of its layers takes longer than moving the heads.
    return Network(backbone, prototypes.to(device), public, None if dfc is None else dfc.to(device))
