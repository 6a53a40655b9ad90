"""Parts of a split, and checks that no identity or image occurs in two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.short_repr import Brief
from fedfr.faces.array_columns import ImageIndices, concatenate_indices
from fedfr.faces.faceset import FaceSet
from fedfr.faces.name_matching import groups_of_similar_names, quoted_name

__all__ = ["ClientFaces", "SplitParts", "labels_of"]

UNSEEN = "generic or distractors"


@dataclass(frozen=True, repr=False)
class ClientFaces(Brief):
    """One client's private images, as indices into the whole set: ``test`` shows the same people as ``train``.

    A client whose faces are ``elsewhere``, on a machine of its own, has none here.
    """

    train: Sequence[int]
    test: Sequence[int]
    elsewhere: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "train", ImageIndices(self.train))
        object.__setattr__(self, "test", ImageIndices(self.test))

    def all(self) -> NDArray[np.int64]:
        """The images of training, then those of the test."""
        return concatenate_indices([self.train, self.test])


@dataclass(frozen=True, repr=False)
class SplitParts(Brief):
    """Image indices by part; every check raises :class:`FedfrError` naming the part and the image or identity."""

    public: Sequence[int]
    clients: Mapping[str, ClientFaces]
    generic: Sequence[int]
    distractors: Sequence[int]

    def lists(self) -> dict[str, Sequence[int]]:
        """Every list of images by the name used in messages: ``public``, ``client-01 train``, …, ``distractors``."""
        lists = {"public": self.public}
        for client, images in self.clients.items():
            lists[f"{client} train"] = images.train
            lists[f"{client} test"] = images.test
        return {**lists, "generic": self.generic, "distractors": self.distractors}

    def owners(self) -> dict[str, NDArray[np.int64]]:
        """Images by who may know the people on them: ``public``, each client, and nobody."""
        clients = {client: images.all() for client, images in self.clients.items()}
        return {
            "public": concatenate_indices([self.public]),
            **clients,
            UNSEEN: concatenate_indices([self.generic, self.distractors]),
        }

    def check_images(self, faces: FaceSet) -> None:
        """Every index lies in range and is used once; only ``generic`` and ``distractors`` may share images."""
        parts = list(self.lists())
        used = np.full(len(faces), -1, np.int32)
        at = np.empty(len(faces), np.int32)
        for number, (part, images) in enumerate(self.lists().items()):
            given = np.asarray(images, np.int64)
            outside = (given < 0) | (given >= len(faces))
            inside = given[: int(np.argmax(outside))] if outside.any() else given
            # Where each stands first in this part, written last; then where it does not stand first, or is elsewhere.
            places = np.arange(len(inside))
            at[inside[::-1]] = places[::-1]
            earlier = np.where(at[inside] < places, number, used[inside])
            shared = (earlier == parts.index("generic")) & (part == "distractors")
            again = np.flatnonzero((earlier >= 0) & ~shared)
            if again.size:
                index, other = int(inside[again[0]]), parts[int(earlier[again[0]])]
                both = f"twice in {part}" if other == part else f"in {other} and in {part}"
                raise FedfrError(f"image {faces.names[index]!r} stands {both} of the split; use it once")
            if len(inside) < len(given):
                raise FedfrError(
                    f"{part} of the split uses image {given[len(inside)]}; these faces have 0 … {len(faces) - 1}"
                )
            used[inside] = number

    def check_roles(self, faces: FaceSet) -> None:
        """Public images come from the public face set and clients' from private ones, where faces have several sets."""
        if not faces.sets:
            return
        wanted = {"public": "public", **dict.fromkeys(self.clients, "private")}
        for owner, images in self.owners().items():
            sets, _ = faces.located(images)
            strange = [part.role != wanted.get(owner, part.role) for part in faces.sets]
            found = np.flatnonzero(np.array(strange)[sets]) if len(images) else images
            if len(found):
                part, image = faces.sets[sets[found[0]]], faces.names[int(images[found[0]])]
                raise FedfrError(
                    f"{owner} of the split has {len(found)} images of the {part.role} face set {part.name!r}, such as "
                    f"{image!r}; it may have {wanted[owner]} faces only: use a recipe for several sets (sets, general, "
                    "pins-fed), or give the set another role"
                )

    def check_clients(self, faces: FaceSet) -> None:
        """Every client has training images, or all its faces elsewhere, and trains on each identity that it tests."""
        for client, images in self.clients.items():
            if images.elsewhere and (images.train or images.test):
                raise FedfrError(f"{client} of the split has its faces elsewhere and images here; leave one out")
            if not images.train and not images.elsewhere:
                raise FedfrError(f"{client} of the split has no training images; give it some or remove it")
            untrained = np.setdiff1d(labels_of(faces, images.test), labels_of(faces, images.train))
            if untrained.size:
                identity = faces.identities[untrained[0]]
                raise FedfrError(f"{client} of the split tests {identity!r} but does not train on it; give it images")

    def check_identities(self, faces: FaceSet) -> None:
        """No identity, and no two whose names look the same, belong to two of: public, each client, the unseen ones."""
        groups = list(self.owners())
        owners = np.full(faces.num_identities, -1, np.int64)
        for number, images in enumerate(self.owners().values()):
            people = labels_of(faces, images)
            taken = people[owners[people] >= 0]
            if taken.size:
                identity, owner = faces.identities[taken[0]], groups[owners[taken[0]]]
                raise FedfrError(
                    f"identity {identity!r} is in {owner} and in {groups[number]} of the split; keep it in one"
                )
            owners[people] = number
        used = np.flatnonzero(owners >= 0).tolist()
        label = {faces.identities[each]: each for each in used}
        for names in groups_of_similar_names(label):
            places = [groups[owners[label[name]]] for name in names]
            if len(set(places)) > 1:
                where = ", ".join(f"{quoted_name(name)} in {place}" for name, place in zip(names, places, strict=True))
                raise FedfrError(
                    f"identities whose names look the same are in several parts of the split: {where}; give one person "
                    "one name, or people who differ names that do, and import again"
                )

    def check_pixels(self, faces: FaceSet) -> None:
        """No image comes back under another index in another part, nor in a client's train and test."""
        copied, starts = faces.digests().copies()
        if not copied.size:
            return
        group = np.full(len(faces), -1, np.int64)
        group[copied] = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(copied))))
        lists = self.lists()
        names = [UNSEEN if part in ("generic", "distractors") else part for part in lists]
        numbers = np.repeat([names.index(name) for name in names], [len(images) for images in lists.values()])
        images = concatenate_indices(lists.values())
        some = group[images] >= 0
        images, numbers = images[some], numbers[some]
        _, first, which = np.unique(group[images], return_index=True, return_inverse=True)
        faults = np.flatnonzero(numbers[first[which]] != numbers)
        if faults.size:
            later = int(faults[0])
            earlier = int(first[which[later]])
            found, other = (
                f"{faces.names[int(images[place])]!r} in {names[int(numbers[place])]}" for place in (earlier, later)
            )
            more = f" ({faults.size} such pairs)" if faults.size > 1 else ""
            raise FedfrError(
                f"the very same image is {found} and {other} of the split{more}; remove one from the faces, "
                "or leave copies out with the split setting duplicates=drop"
            )


def labels_of(faces: FaceSet, images: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels of the identities on some images, ascending."""
    labels = faces.labels[np.asarray(images, np.int64)]
    if len(labels) < faces.num_identities:
        return np.unique(labels)
    return np.flatnonzero(np.bincount(labels, minlength=faces.num_identities))
