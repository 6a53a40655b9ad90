"""Site of a federation: its faces, private states and client."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch

import fedfr
from fedfr.core.errors import FedfrError
from fedfr.core.files import make_folder
from fedfr.core.locks import locked
from fedfr.core.secret_files import refuse_existing
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.erasure.journal import refuse_unfinished
from fedfr.deployment.site_config import SiteConfig
from fedfr.deployment.site_exports import record_export
from fedfr.deployment.site_privacy import check_persons, site_privacy
from fedfr.experiments.from_config import make_compute, make_method
from fedfr.experiments.method_run import personalized_of, save_personalized
from fedfr.faces import ClientFaces, FaceSet, Split
from fedfr.faces.splits.assignment import assign_to_clients, held_out_count, last_as_test
from fedfr.federation.client import Client, ClientSettings
from fedfr.federation.messages import Hello
from fedfr.federation.method import Method
from fedfr.federation.private_store import PrivateStore
from fedfr.federation.public_faces import PublicFaces
from fedfr.models import Personalized, build_backbone
from fedfr.privacy.person_dp import PrivateClient, SharingClient

__all__ = ["Site"]

CPU = torch.device("cpu")

# The site's own log; it stays on the site's machine.
_log = logging.getLogger("fedfr.client")


class Site:
    """Opened site: its agreement, faces, private states and client.

    Raises :class:`FedfrError` if the agreement cannot be used or does not name the site's client id.
    """

    def __init__(self, config: SiteConfig) -> None:
        self.config = config
        self.agreement = Agreement.load(Path(config.agreement), config.allow)
        if config.client not in self.agreement.clients:
            raise FedfrError(
                f"client = {config.client!r} is not in {config.agreement}, which names "
                f"{', '.join(self.agreement.clients)}; give one of these ids"
            )

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Site:
        """Open the site of this ``site.yaml``; raises :class:`FedfrError` if the erasure of a person is unfinished."""
        config = SiteConfig.load(Path(path))
        refuse_unfinished(Path(config.private))
        return cls(config)

    @property
    def private(self) -> Path:
        """Folder of the private states under this agreement."""
        return Path(self.config.private) / self.agreement.fingerprint[:16]

    def hello(self) -> Hello:
        """Return client id, fingerprints and version.

        Raises :class:`FedfrError` if required faces cannot be opened, and for more persons than agreed.
        """
        check_persons(self.config.client, self.own_faces, self.agreement.privacy)
        place = self.config.public
        has_public = self.agreement.public and place is not None and Path(place).exists()
        public = self.public_faces.fingerprint() if has_public else ""
        if public != self.agreement.public:
            _log.error(
                "%s: not taking part: the public faces %s; download them with `fedfr site fetch`",
                self.config.client,
                "differ from those of the agreement" if public else "are missing, see `public` in site.yaml",
            )
        for line in self.agreement.describe_privacy():
            _log.info("%s", line, extra={"shareable": line})
        return Hello(self.config.client, self.agreement.fingerprint, public, fedfr.__version__)

    @cached_property
    def own_faces(self) -> FaceSet:
        """Private faces for training."""
        faces, division = self.partitioned_faces
        return faces.subset(division.train)

    @cached_property
    def all_faces(self) -> FaceSet:
        """Private faces for training and for the site's own test."""
        faces, division = self.partitioned_faces
        return faces.subset(division.all())

    @cached_property
    def public_faces(self) -> FaceSet:
        """Public faces; empty if the site has none or the method uses none."""
        if self.config.public is None or not self.agreement.public:
            return self.own_faces.subset([])
        return FaceSet.load(self.config.public)

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Yield the client with exclusive access to its private states.

        Raises :class:`FedfrError` if another process of this site is training, and if the device does not exist.
        """
        config, agreement = self.config, self.agreement
        torch.set_num_threads(config.runtime.threads)
        run = agreement.config.model_copy(update={"runtime": config.runtime})
        settings = ClientSettings(
            backbone=agreement.backbone,
            num_clients=len(agreement.clients),
            seed=agreement.seed,
            local=agreement.local,
            federation=run.federation,
            compute=make_compute(run),
        )
        # Two processes of a site would overwrite each other's states.
        private = Path(config.private)
        if not private.exists():
            make_folder(private, 0o700)
        with locked(self.private):
            self._erase_departed()
            public = PublicFaces(self.public_faces, half=config.runtime.public_features == "half")
            store = PrivateStore(self.private, config.client)
            given = (config.client, self.own_faces, public, self.method, settings, store)
            privacy = site_privacy(agreement, config.client, self.own_faces, private)
            if privacy is None:
                yield Client(*given)
            else:
                yield (SharingClient if privacy.agreement else PrivateClient)(*given, privacy=privacy)

    def export(self, path: Path) -> int:
        """Export the personalized model of the site's newest round; return the round.

        The export is recorded, because the copy has to be found when a person withdraws. Raises :class:`FedfrError` as
        :meth:`personalized` does, and if ``path`` exists.
        """
        refuse_existing(path)
        return self.save_newest(path, recorded=True)

    def save_newest(self, path: Path, *, recorded: bool = False) -> int:
        """Write the personalized model of the site's newest round, with ``recorded`` as an export; return the round."""
        number, model = self.personalized()
        if recorded:
            record_export(Path(self.config.private), path, self.private.name, number)
        save_personalized(path, model, self.agreement.config)
        return number

    def _erase_departed(self) -> None:
        """Erase departed identities from private states of other agreements, which no round uses again."""
        for folder in sorted(self.private.parent.iterdir()):
            store = PrivateStore(folder, self.config.client)
            if folder == self.private or not store.rounds():
                continue
            try:
                with locked(folder):
                    departed = store.erase_departed(self.all_faces.identities)
            except FedfrError as error:
                _log.warning("%s", error)
                continue
            if departed:
                _log.warning("%d departed identities were erased from the states of an earlier agreement", departed)

    @cached_property
    def method(self) -> Method:
        """Method of the agreement."""
        return make_method(self.agreement.config, self.agreement.method.name)

    def personalized(self, device: torch.device = CPU) -> tuple[int, Personalized]:
        """Return the site's newest round and its personalized model after that round.

        Raises :class:`FedfrError` if the site has not taken part in a round, and if the method has no such model.
        """
        agreement, store = self.agreement, PrivateStore(self.private, self.config.client)
        rounds = store.rounds()
        state = store.at_or_before(rounds[-1]) if rounds else None
        if state is None:
            raise FedfrError(
                f"{self.config.client} has not taken part in a round of {agreement.run} yet, so it has no model; "
                "start its site with `fedfr site run`, and wait for the first round"
            )
        if self.method.personal_model is None:
            raise FedfrError(
                f"{agreement.method.name} gives {self.config.client} no personalized model; "
                "its generic model is at the coordinator"
            )
        return state.round, personalized_of(self.method, state, build_backbone(agreement.backbone, 0), device)

    @cached_property
    def partitioned_faces(self) -> tuple[FaceSet, ClientFaces]:
        """Private faces, and the indices of their training and test images."""
        given, client = self.config.faces, self.config.client
        faces = FaceSet.load(given.path)
        if given.manifest is not None:
            split = Split.load(given.manifest)
            split.check(faces)
            if client not in split.clients:
                raise FedfrError(f"{given.manifest} has no images of {client}; it has {', '.join(split.clients)}")
            return faces, split.clients[client]
        count, people = given.test_count, range(faces.num_identities)
        divide = last_as_test(held_out_count(given.test_share) if count is None else lambda images: count)
        (division,) = assign_to_clients(faces, people, [len(people)], divide).values()
        return faces, division
