"""Factory of the clients of one method's run, in this process or in workers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedfr.config.schema import ExperimentConfig
from fedfr.engines.local import worker_number
from fedfr.experiments.from_config import local_training, make_compute, make_method
from fedfr.experiments.person_privacy import LEDGERS, is_private, person_plan
from fedfr.faces import FaceSet, Split
from fedfr.federation.client import Client, ClientSettings
from fedfr.federation.method import Method
from fedfr.federation.networks import Networks
from fedfr.federation.private_store import PrivateStore
from fedfr.federation.public_faces import PublicFaces
from fedfr.federation.server import sample_size
from fedfr.federation.withholding_client import WithholdingClient
from fedfr.privacy.person_dp import PersonPlan, PrivateClient, SitePrivacy, SummingClient

__all__ = ["ClientFactory"]


@dataclass(frozen=True)
class SharedResources:
    """Objects shared by all clients of one process."""

    faces: FaceSet
    participants: Mapping[str, Sequence[int]]
    public: PublicFaces
    method: Method
    settings: ClientSettings
    networks: Networks
    plan: PersonPlan | None


@dataclass
class ClientFactory:
    """Factory of the clients of one method's run; it can be pickled to worker processes.

    Processes share the features of public faces in ``features_folder``; without it each process computes its own.
    ``withholds``: clients keep their updates for a secure sum, ``agreement`` is the hash of its agreement where they
    share noise in it.
    """

    config: ExperimentConfig
    method_name: str
    faces_folder: Path
    split_path: Path
    clients_folder: Path
    features_folder: Path | None = None
    withholds: bool = False
    agreement: bytes = b""
    _shared: SharedResources | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_shared": None}

    def __call__(self, client_id: str) -> Client:
        """Return the client with its private faces; everything else is shared within the process."""
        if self._shared is None:
            self._shared = self._share()
        shared = self._shared
        private = shared.faces.subset(shared.participants[client_id])
        store = PrivateStore(self.clients_folder / client_id, client_id)
        given = (client_id, private, shared.public, shared.method, shared.settings, store, shared.networks)
        if shared.plan is None:
            return (WithholdingClient if self.withholds else Client)(*given)
        config = self.config.privacy
        privacy = SitePrivacy(
            shared.plan.mechanism,
            config.epsilon,
            config.delta,
            shared.plan.people_at_site,
            self.clients_folder.parent / LEDGERS / client_id,
            self.method_name,
            config.hard_negatives,
            self.agreement,
        )
        return (SummingClient if self.withholds else PrivateClient)(*given, privacy=privacy)

    def _share(self) -> SharedResources:
        config, faces, split = self.config, FaceSet.load(self.faces_folder), Split.load(self.split_path)
        method, compute = make_method(config, self.method_name), make_compute(config, worker_number())
        participants = method.participants(split)
        share, local = config.federation.participation, local_training(config, self.method_name)
        if local.steps is not None:
            # One participant that trains in place of several clients takes the steps of all of them.
            steps = local.steps * sample_size(len(split.clients), share) / sample_size(len(participants), share)
            local = local.model_copy(update={"steps": math.ceil(steps)})
        settings = ClientSettings(
            backbone=config.model.backbone,
            num_clients=len(participants),
            seed=config.seed,
            local=local,
            federation=config.federation,
            compute=compute,
        )
        half = config.runtime.public_features == "half"
        public = PublicFaces(faces.subset(split.public), self.features_folder, half=half)
        networks = Networks(config.model.backbone, compute)
        private = is_private(config, self.method_name)
        plan = person_plan(config, method, len(participants)) if private else None
        return SharedResources(faces, participants, public, method, settings, networks, plan)
