"""Inputs that a method sees on one client during one round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from fedfr.config.schema import FederationConfig, LocalConfig
from fedfr.core.rng import derive_seed
from fedfr.core.short_repr import Brief
from fedfr.faces import FaceSet
from fedfr.federation.networks import Networks
from fedfr.federation.private_state import PrivateState
from fedfr.federation.public_faces import PublicFaces
from fedfr.models import build_backbone
from fedfr.training.features import Compute, extract_features
from fedfr.training.stored_features import StoredFeatures
from fedfr.training.training_set import TrainingSet

__all__ = ["ClientSettings", "RoundContext", "RoundModels"]


@dataclass(frozen=True)
class ClientSettings:
    """Settings of local training, the same for every client of a run."""

    backbone: str
    num_clients: int
    seed: int
    local: LocalConfig
    federation: FederationConfig
    compute: Compute


class RoundModels:
    """Frozen models of one round and features under them, computed when first requested.

    ``generic`` is the backbone with θ^t in evaluation mode; do not change it. ``own`` says that its BatchNorm is the
    client's own, so that its features must not be shared with other clients.

    ``feature_seconds`` is the processor time that the client's process spent on features of public faces so far, and
    ``feature_seconds_alone`` that of computing all of them, as a client without others has to; None if it is not known.
    """

    def __init__(
        self,
        generic: nn.Module,
        networks: Networks,
        settings: ClientSettings,
        client: str,
        private: FaceSet,
        public: PublicFaces,
        *,
        own: bool,
    ) -> None:
        self.generic = generic
        self._networks = networks
        self._settings = settings
        self._client = client
        self._private = private
        self._public = public
        self._own = own
        self.feature_seconds = 0.0
        self.feature_seconds_alone: float | None = 0.0

    @cached_property
    def private_features(self) -> torch.Tensor:
        """Features (n, D) of the unflipped private faces under ``generic``."""
        return extract_features(self.generic, TrainingSet([(self._private, None, 0)]), self._settings.compute)

    @property
    def has_private_features(self) -> bool:
        """Whether :attr:`private_features` have been computed."""
        return "private_features" in vars(self)

    @cached_property
    def mirrored_private_features(self) -> torch.Tensor:
        """Features (n, D) of the mirror images of the private faces under ``generic``."""
        faces = TrainingSet([(self._private, None, 0)])
        return extract_features(self.generic, faces, self._settings.compute, mirrored=True)

    @cached_property
    def mirrored_public_features(self) -> StoredFeatures:
        """Features of the mirror images of the public faces under ``generic``."""
        return self._features_of(self._public.mirrored)

    @cached_property
    def public_features(self) -> StoredFeatures:
        """Features of the unflipped public faces under ``generic``."""
        return self._features_of(self._public)

    def _features_of(self, public: PublicFaces) -> StoredFeatures:
        before = public.spent
        found = public.features(self.generic, self._settings.compute, own=self._own)
        self.feature_seconds += public.spent - before
        before_alone, own = self.feature_seconds_alone, public.seconds
        self.feature_seconds_alone = None if before_alone is None or own is None else before_alone + own
        return found

    def with_weights(self, weights: Mapping[str, torch.Tensor]) -> nn.Module:
        """Return a second backbone with ``weights``, in evaluation mode; valid until the next call or training."""
        return self._networks.working(weights)

    def new_backbone(self, seed: int) -> nn.Module:
        """Build a backbone with initial weights drawn for this client and ``seed``."""
        settings = self._settings
        backbone = build_backbone(settings.backbone, derive_seed(settings.seed, "backbone", self._client, seed))
        return settings.compute.place(backbone)


@dataclass(frozen=True, repr=False)
class RoundContext(Brief):
    """Inputs of a method on one client during one round.

    ``settings`` are the run's, ``private`` and ``public`` the client's faces. ``weights`` (θ^t) and ``prototypes``
    (Φ_g) come from the server; ``identities`` are the private prototypes as the server changed them, for methods that
    reveal them. ``local_entries`` names the backbone entries that stay at the client: its BatchNorm under the policy
    ``local``. ``state`` is what the client kept from its previous participation, or None.
    """

    round: int
    client: str
    settings: ClientSettings
    private: FaceSet
    public: FaceSet
    weights: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor
    identities: torch.Tensor | None
    local_entries: frozenset[str]
    state: PrivateState | None
    models: RoundModels
