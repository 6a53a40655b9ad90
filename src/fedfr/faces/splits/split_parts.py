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

__all__ = ["STRANGERS", "UNSEEN", "ClientFaces", "SplitParts", "labels_of"]

UNSEEN = "generic or distractors"
"""Owner of the identities that no model is trained on."""

STRANGERS = "strangers"
"""Owner of the identities that thresholds are calibrated with; no model is trained on them nor tested with them."""


@dataclass(frozen=True, repr=False)
class ClientFaces(Brief):
    """Private images of one client as indices into the face set; ``test`` shows identities of ``train``.

    ``elsewhere`` marks a client whose faces are on another machine; it has no images here.

    >>> from fedfr.faces import ClientFaces
    >>> client = ClientFaces(train=range(3), test=[3, 4])
    >>> len(client.train), client.all().tolist()
    (3, [0, 1, 2, 3, 4])
    """

    train: Sequence[int]
    test: Sequence[int]
    elsewhere: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "train", ImageIndices(self.train))
        object.__setattr__(self, "test", ImageIndices(self.test))

    def all(self) -> NDArray[np.int64]:
        """Return the training images followed by the test images, int64."""
        return concatenate_indices([self.train, self.test])


@dataclass(frozen=True, repr=False)
class SplitParts(Brief):
    """Image indices by part; every check raises :class:`FedfrError` naming the part and the image or identity."""

    public: Sequence[int]
    clients: Mapping[str, ClientFaces]
    generic: Sequence[int]
    distractors: Sequence[int]
    strangers: Sequence[int] = ()

    def lists(self) -> dict[str, Sequence[int]]:
        """Return the lists of images by name: ``public``, ``client-01 train``, …, ``strangers`` if there are any."""
        lists = {"public": self.public}
        for client, images in self.clients.items():
            lists[f"{client} train"] = images.train
            lists[f"{client} test"] = images.test
        unseen = {"generic": self.generic, "distractors": self.distractors}
        return {**lists, **unseen, **({STRANGERS: self.strangers} if len(self.strangers) else {})}

    def owners(self) -> dict[str, NDArray[np.int64]]:
        """Return the images by owner of their identities: ``public``, each client, the unseen part, and strangers."""
        clients = {client: images.all() for client, images in self.clients.items()}
        return {
            "public": concatenate_indices([self.public]),
            **clients,
            UNSEEN: concatenate_indices([self.generic, self.distractors]),
            STRANGERS: concatenate_indices([self.strangers]),
        }

    def check_images(self, faces: FaceSet) -> None:
        """Check that every index is in range and used once; only ``generic`` and ``distractors`` may share images."""
        parts = list(self.lists())
        used = np.full(len(faces), -1, np.int32)
        at = np.empty(len(faces), np.int32)
        for number, (part, images) in enumerate(self.lists().items()):
            given = np.asarray(images, np.int64)
            outside = (given < 0) | (given >= len(faces))
            inside = given[: int(np.argmax(outside))] if outside.any() else given
            # Assigned in reverse, `at` holds the first place of an image in this part; later places are repetitions.
            places = np.arange(len(inside))
            at[inside[::-1]] = places[::-1]
            earlier = np.where(at[inside] < places, number, used[inside])
            shared = (earlier == parts.index("generic")) & (part == "distractors")
            again = np.flatnonzero((earlier >= 0) & ~shared)
            if again.size:
                index, other = int(inside[again[0]]), parts[int(earlier[again[0]])]
                both = f"twice in {part}" if other == part else f"in {other} and in {part}"
                raise FedfrError(f"image {faces.names[index]!r} is {both} of the split; use it once")
            if len(inside) < len(given):
                raise FedfrError(
                    f"{part} of the split uses image {given[len(inside)]}; these faces have 0 … {len(faces) - 1}"
                )
            used[inside] = number

    def check_roles(self, faces: FaceSet, public: str = "public") -> None:
        """Check that public images are of the public face set and clients' of private ones, if there are several.

        Strangers are published, and are therefore of no private set.
        ``public`` is the role of the set whose images are public, if the settings of a split say so.
        """
        if not faces.sets:
            return
        allowed = {"public": (public,), **dict.fromkeys(self.clients, ("private",)), STRANGERS: ("public", "generic")}
        for owner, images in self.owners().items():
            if owner not in allowed:
                continue
            sets, _ = faces.locate(images)
            mismatched = [part.role not in allowed[owner] for part in faces.sets]
            misplaced = np.flatnonzero(np.array(mismatched)[sets]) if len(images) else images
            if len(misplaced):
                part, image = faces.sets[sets[misplaced[0]]], faces.names[int(images[misplaced[0]])]
                roles = " or ".join(allowed[owner])
                raise FedfrError(
                    f"{owner} of the split has {len(misplaced)} images of the {part.role} face set {part.name!r}, such "
                    f"as {image!r}; it may have {roles} faces only: use a recipe for several sets (sets, general, "
                    "pins-fed), or give the set another role"
                )

    def check_clients(self, faces: FaceSet) -> None:
        """Check that clients have training images, or all faces elsewhere, and train on each identity they test."""
        for client, images in self.clients.items():
            if images.elsewhere and (images.train or images.test):
                raise FedfrError(
                    f"{client} of the split has its faces elsewhere, but also images here; remove these or the mark"
                )
            if not images.train and not images.elsewhere:
                raise FedfrError(f"{client} of the split has no training images; give it some or remove it")
            untrained = np.setdiff1d(labels_of(faces, images.test), labels_of(faces, images.train))
            if untrained.size:
                identity = faces.identities[untrained[0]]
                raise FedfrError(f"{client} of the split tests {identity!r} but does not train on it; give it images")

    def check_identities(self, faces: FaceSet) -> None:
        """Check that no identity, nor two whose names look the same, belongs to two of the owners."""
        groups = list(self.owners())
        owners = np.full(faces.num_identities, -1, np.int64)
        for number, images in enumerate(self.owners().values()):
            labels = labels_of(faces, images)
            taken = labels[owners[labels] >= 0]
            if taken.size:
                identity, owner = faces.identities[taken[0]], groups[owners[taken[0]]]
                raise FedfrError(
                    f"identity {identity!r} is in {owner} and in {groups[number]} of the split; keep it in one"
                )
            owners[labels] = number
        used = np.flatnonzero(owners >= 0).tolist()
        label = {faces.identities[each]: each for each in used}
        for names in groups_of_similar_names(label):
            places = [groups[owners[label[name]]] for name in names]
            if len(set(places)) > 1:
                where = ", ".join(f"{quoted_name(name)} in {place}" for name, place in zip(names, places, strict=True))
                raise FedfrError(
                    f"identities whose names look the same are in several parts of the split: {where}; use one name "
                    "for one person and clearly different names for different people, and import again"
                )

    def check_pixels(self, faces: FaceSet) -> None:
        """Check that no two equal images are in different parts, nor in a client's training and test."""
        repeated, starts = faces.digests().duplicates()
        if not repeated.size:
            return
        group = np.full(len(faces), -1, np.int64)
        group[repeated] = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(repeated))))
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
                f"the same image is {found} and {other} of the split{more}; remove one from the faces, "
                "or omit duplicates with the split setting duplicates=drop"
            )


def labels_of(faces: FaceSet, images: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distinct labels of some images, ascending."""
    labels = faces.labels[np.asarray(images, np.int64)]
    if len(labels) < faces.num_identities:
        return np.unique(labels)
    return np.flatnonzero(np.bincount(labels, minlength=faces.num_identities))
