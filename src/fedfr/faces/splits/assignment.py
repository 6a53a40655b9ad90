"""Functions shared by split recipes: checks of settings, order of identities, assignment of images to clients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from fedfr.core.decimals import exact_fraction
from fedfr.core.errors import FedfrError
from fedfr.faces.array_columns import ImageIndices
from fedfr.faces.faceset import FaceSet
from fedfr.faces.grouping import ByIdentity
from fedfr.faces.splits.split_parts import ClientFaces

__all__ = [
    "assign_to_clients",
    "check_available",
    "check_minimum",
    "client_sizes",
    "divide_images",
    "first_as_test",
    "has_role",
    "held_out_count",
    "identities_by_name",
    "images_of",
    "in_role",
    "last_as_test",
    "train_test_rule",
    "training_part_only",
]

OPTIONAL = ("max_images", "generic_identities", "distractors", "deals")

TrainTestRule = Callable[[int], tuple[range, range]]
"""Maps the number of images of an identity to the ranges of its training and its test images."""


def check_minimum(minimum: int, **settings: int | None) -> None:
    """Raise :class:`FedfrError` for the first setting that is not a whole number of at least ``minimum``."""
    for name, value in settings.items():
        if value is None and name in OPTIONAL:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise FedfrError(f"split setting {name} = {value!r}; give a whole number of at least {minimum}")


def check_available(wanted: int, available: int, what: str, settings: str) -> None:
    """Raise :class:`FedfrError` if ``wanted`` exceeds ``available``; ``settings`` names the settings to lower."""
    if wanted > available:
        raise FedfrError(f"the split needs {wanted} {what}, these faces have {available}; lower {settings}")


def identities_by_name(faces: FaceSet) -> list[int]:
    """Return the labels of the identities that have images, sorted by name (code points)."""
    counts = faces.counts()
    return sorted((label for label in range(faces.num_identities) if counts[label]), key=faces.identities.__getitem__)


def has_role(faces: FaceSet, role: str) -> bool:
    """Whether the faces are combined from several sets of which one has this role."""
    return any(part.role == role for part in faces.sets)


def in_role(faces: FaceSet, labels: Sequence[int], role: str) -> list[int]:
    """Return those of ``labels`` whose face set has this role, in their order; all of them for a single set."""
    if not faces.sets:
        return list(labels)
    named = {part.name for part in faces.sets if part.role == role}
    return [label for label in labels if faces.identities[label].partition("/")[0] in named]


def images_of(faces: FaceSet, labels: Sequence[int], max_images: int | None = None) -> ImageIndices:
    """Return the images of some identities in the order of the set, at most the first ``max_images`` of each."""
    return ImageIndices(faces.by_identity().of(labels, last=max_images))


def divide_images(
    images: ByIdentity, labels: Sequence[int], divide: TrainTestRule, max_images: int | None = None
) -> ClientFaces:
    """Return the training and test images of some identities, divided by the rule ``divide``."""
    counts = images.counts[np.asarray(labels, np.int64)]
    if max_images is not None:
        counts = np.minimum(counts, max_images)
    found, which = np.unique(counts, return_inverse=True)
    parts = [divide(count) for count in found.tolist()]
    bounds = np.array([[part.start, part.stop] for both in parts for part in both], np.int64).reshape(-1, 2, 2)[which]
    train, test = (ImageIndices(images.of(labels, bounds[:, part, 0], bounds[:, part, 1])) for part in (0, 1))
    return ClientFaces(train, test)


def client_sizes(clients: int, identities_per_client: int | Sequence[int]) -> list[int]:
    """Return the number of identities of each client, from one number for all or one for every client.

    Raises :class:`FedfrError` for a number below 1 and for another number of entries than of clients.
    """
    check_minimum(1, clients=clients)
    if isinstance(identities_per_client, Sequence) and not isinstance(identities_per_client, str):
        if len(identities_per_client) != clients:
            description = f"{len(identities_per_client)} numbers in identities_per_client for {clients} clients"
            raise FedfrError(f"split settings hold {description}; give one number for every client")
        for size in identities_per_client:
            check_minimum(1, identities_per_client=size)
        return list(identities_per_client)
    check_minimum(1, identities_per_client=identities_per_client)
    return [identities_per_client] * clients


def assign_to_clients(
    faces: FaceSet,
    labels: Sequence[int],
    sizes: Sequence[int],
    divide: TrainTestRule,
    max_images: int | None = None,
) -> dict[str, ClientFaces]:
    """Assign the identities ``labels`` to clients in turn; ``divide`` separates training and test images of each."""
    digits = max(2, len(str(len(sizes))))
    assigned: dict[str, ClientFaces] = {}
    taken = 0
    for number, size in enumerate(sizes):
        chosen = labels[taken : taken + size]
        taken += size
        assigned[f"client-{number + 1:0{digits}d}"] = divide_images(faces.by_identity(), chosen, divide, max_images)
    return assigned


def last_as_test(test_of: Callable[[int], int]) -> TrainTestRule:
    """Return a rule by which the last ``test_of(images)`` images are for testing, and at least one for training.

    Not a random choice: images of one event often follow each other, so near duplicates remain on the same side.
    """

    def divide(images: int) -> tuple[range, range]:
        kept = images - max(min(test_of(images), images - 1), 0)
        return range(kept), range(kept, images)

    return divide


def first_as_test(count: int) -> TrainTestRule:
    """Return a rule by which the first ``count`` images are for testing."""
    return lambda images: (range(min(count, images), images), range(min(count, images)))


def train_test_rule(
    test_share: float | None, test_count: int | None, min_images: int, max_images: int | None
) -> TrainTestRule:
    """Return a rule by which the last ``test_share`` (default 0.4) or ``test_count`` images are for testing.

    Raises :class:`FedfrError` if both are given, for a share outside 0 ≤ share < 1, and for a count that leaves no
    training images of an identity with ``min_images``, or ``max_images`` if that is less.
    """
    if test_count is not None:
        check_minimum(0, test_count=test_count)
    if test_share is not None and test_count is not None:
        raise FedfrError(f"split settings test_share = {test_share} and test_count = {test_count}; give only one")
    if test_share is not None and not (isinstance(test_share, int | float) and 0 <= test_share < 1):
        raise FedfrError(f"split setting test_share = {test_share!r}; give a share from 0 to less than 1")
    least = min_images if max_images is None else min(min_images, max_images)
    if test_count is None:
        return last_as_test(held_out_count(0.4 if test_share is None else test_share))
    if least <= test_count:
        raise FedfrError(
            f"split setting test_count = {test_count} leaves no training images of {least} images; "
            "lower it or raise min_images and max_images"
        )
    return last_as_test(lambda _: test_count)


def training_part_only(divide: TrainTestRule) -> TrainTestRule:
    """Return a rule that divides the training images of ``divide`` again in the same way."""

    def again(images: int) -> tuple[range, range]:
        kept = divide(images)[0]
        train, test = divide(len(kept))
        return kept[train.start : train.stop], kept[test.start : test.stop]

    return again


def held_out_count(share: float) -> Callable[[int], int]:
    """Return a function from a number of images to that of the test images, ``share`` of them, rounded half up.

    At least one image is for training and, unless ``share`` is 0, one for testing.
    """
    part = exact_fraction(share)
    return lambda images: min(max(math.floor(part * images + Fraction(1, 2)), int(share > 0)), images - 1)
