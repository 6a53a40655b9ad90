"""The parts of a split, and what they must never do: let a person or a picture leak from one into another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fedfr.brief import Brief
from fedfr.errors import FedfrError
from fedfr.faces.faceset import FaceSet

__all__ = ["ID", "ClientFaces", "Parts"]

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a client or a run may be called that somebody names: it is a folder's name, and goes into messages."""

UNSEEN = "generic or distractors"


@dataclass(frozen=True, repr=False)
class ClientFaces(Brief):
    """One client's private images, as indices into the whole set: ``test`` shows the same people as ``train``.

    A client whose faces are ``elsewhere``, on a machine of its own, has none here.
    """

    train: tuple[int, ...]
    test: tuple[int, ...]
    elsewhere: bool = False


@dataclass(frozen=True, repr=False)
class Parts(Brief):
    """Image indices by part; every check raises :class:`FedfrError` naming the part and the image or identity."""

    public: tuple[int, ...]
    clients: Mapping[str, ClientFaces]
    generic: tuple[int, ...]
    distractors: tuple[int, ...]

    def lists(self) -> dict[str, tuple[int, ...]]:
        """Every list of images by the name used in messages: ``public``, ``client-01 train``, …, ``distractors``."""
        lists = {"public": self.public}
        for client, images in self.clients.items():
            lists[f"{client} train"] = images.train
            lists[f"{client} test"] = images.test
        return {**lists, "generic": self.generic, "distractors": self.distractors}

    def owners(self) -> dict[str, tuple[int, ...]]:
        """Images by who may know the people on them: ``public``, each client, and nobody."""
        clients = {client: images.train + images.test for client, images in self.clients.items()}
        return {"public": self.public, **clients, UNSEEN: self.generic + self.distractors}

    def check_images(self, faces: FaceSet) -> None:
        """Every index lies in range and is used once; only ``generic`` and ``distractors`` may share images."""
        used: dict[int, str] = {}
        for part, images in self.lists().items():
            for index in images:
                if not 0 <= index < len(faces):
                    raise FedfrError(f"{part} of the split uses image {index}; these faces have 0 … {len(faces) - 1}")
                earlier = used.get(index)
                if earlier is not None and {earlier, part} != {"generic", "distractors"}:
                    both = f"twice in {part}" if earlier == part else f"in {earlier} and in {part}"
                    raise FedfrError(f"image {faces.names[index]!r} stands {both} of the split; use it once")
                used[index] = part

    def check_clients(self, faces: FaceSet) -> None:
        """Every client has training images, or all its faces elsewhere, and trains on each identity that it tests."""
        labels = faces.labels.tolist()
        for client, images in self.clients.items():
            if images.elsewhere and (images.train or images.test):
                raise FedfrError(f"{client} of the split has its faces elsewhere and images here; leave one out")
            if not images.train and not images.elsewhere:
                raise FedfrError(f"{client} of the split has no training images; give it some or remove it")
            untrained = {labels[index] for index in images.test} - {labels[index] for index in images.train}
            if untrained:
                identity = faces.identities[min(untrained)]
                raise FedfrError(f"{client} of the split tests {identity!r} but does not train on it; give it images")

    def check_identities(self, faces: FaceSet) -> None:
        """No identity belongs to two of: public, each client, the unseen ones."""
        labels = faces.labels.tolist()
        owners: dict[int, str] = {}
        for group, images in self.owners().items():
            for label in sorted({labels[index] for index in images}):
                owner = owners.setdefault(label, group)
                if owner != group:
                    identity = faces.identities[label]
                    raise FedfrError(f"identity {identity!r} is in {owner} and in {group} of the split; keep it in one")

    def check_pixels(self, faces: FaceSet) -> None:
        """No picture comes back under another index in another part, nor in a client's train and test."""
        digests = faces.digests()
        seen: dict[bytes, tuple[str, int]] = {}
        faults: list[str] = []
        for part, images in self.lists().items():
            group = UNSEEN if part in ("generic", "distractors") else part
            for index in images:
                earlier, other = seen.setdefault(digests[index], (group, index))
                if earlier != group:
                    faults.append(f"{faces.names[other]!r} in {earlier} and {faces.names[index]!r} in {group}")
        if faults:
            more = f" ({len(faults)} such pairs)" if len(faults) > 1 else ""
            raise FedfrError(
                f"the very same picture is {faults[0]} of the split{more}; remove one from the faces, "
                "or leave copies out with the split setting duplicates=drop"
            )
