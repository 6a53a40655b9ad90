"""Common parts of split recipes: checks of settings, order of identities, assignment of images to clients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from fedfr.core.decimals import exact
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

OPTIONAL = ("max_images", "generic_identities", "distractors")

TrainTestRule = Callable[[int], tuple[range, range]]
"""How many images an identity has, to which of them are its training and which its test."""


def check_minimum(minimum: int, **settings: int | None) -> None:
    """Raise :class:`FedfrError` for the first setting that is no whole number of at least ``minimum``."""
    for name, value in settings.items():
        if value is None and name in OPTIONAL:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise FedfrError(f"split setting {name} = {value!r}; give a whole number of at least {minimum}")


def check_available(wanted: int, available: int, what: str, settings: str) -> None:
    """Raise :class:`FedfrError` when ``wanted`` exceeds ``available``; ``settings`` names what to lower."""
    if wanted > available:
        raise FedfrError(f"the split needs {wanted} {what}, these faces have {available}; lower {settings}")


def identities_by_name(faces: FaceSet) -> list[int]:
    """Labels of the identities that have images, sorted by name (code points)."""
    counts = faces.counts()
    return sorted((label for label in range(faces.num_identities) if counts[label]), key=faces.identities.__getitem__)


def has_role(faces: FaceSet, role: str) -> bool:
    """Whether faces are put together from several sets of which one has this role."""
    return any(part.role == role for part in faces.sets)


def in_role(faces: FaceSet, labels: Sequence[int], role: str) -> list[int]:
    """Those of some identities that are in a face set of this role, in their order; all, where there is one set."""
    if not faces.sets:
        return list(labels)
    named = {part.name for part in faces.sets if part.role == role}
    return [label for label in labels if faces.identities[label].partition("/")[0] in named]


def images_of(faces: FaceSet, labels: Sequence[int], max_images: int | None = None) -> ImageIndices:
    """Images of some identities in the order of the set, at most ``max_images`` of each."""
    return ImageIndices(faces.by_identity().of(labels, last=max_images))


def divide_images(
    images: ByIdentity, labels: Sequence[int], divide: TrainTestRule, max_images: int | None = None
) -> ClientFaces:
    """Training and test of some identities, each of which ``divide`` parts by the number of its images."""
    counts = images.counts[np.asarray(labels, np.int64)]
    if max_images is not None:
        counts = np.minimum(counts, max_images)
    found, which = np.unique(counts, return_inverse=True)
    parts = [divide(count) for count in found.tolist()]
    bounds = np.array([[part.start, part.stop] for both in parts for part in both], np.int64).reshape(-1, 2, 2)[which]
    train, test = (ImageIndices(images.of(labels, bounds[:, part, 0], bounds[:, part, 1])) for part in (0, 1))
    return ClientFaces(train, test)


def client_sizes(clients: int, identities_per_client: int | Sequence[int]) -> list[int]:
    """How many identities each client has: as many each, or a number for every client.

    Raises :class:`FedfrError` for a number below 1 and for more or fewer numbers than clients.
    """
    check_minimum(1, clients=clients)
    if isinstance(identities_per_client, Sequence) and not isinstance(identities_per_client, str):
        if len(identities_per_client) != clients:
            found = f"{len(identities_per_client)} numbers in identities_per_client for {clients} clients"
            raise FedfrError(f"split settings hold {found}; give one number for every client")
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
    """Assign the next identities to client after client; ``divide`` splits each one's images into training and test."""
    digits = max(2, len(str(len(sizes))))
    dealt: dict[str, ClientFaces] = {}
    taken = 0
    for number, size in enumerate(sizes):
        chosen = labels[taken : taken + size]
        taken += size
        dealt[f"client-{number + 1:0{digits}d}"] = divide_images(faces.by_identity(), chosen, divide, max_images)
    return dealt


def last_as_test(test_of: Callable[[int], int]) -> TrainTestRule:
    """The last ``test_of(images)`` images are the test; at least one is left to train on.

    The last ones rather than a random choice: images of one event often follow each other, so this keeps near
    duplicates on the same side.
    """

    def divide(images: int) -> tuple[range, range]:
        kept = images - max(min(test_of(images), images - 1), 0)
        return range(kept), range(kept, images)

    return divide


def first_as_test(count: int) -> TrainTestRule:
    """The first ``count`` images are the test."""
    return lambda images: (range(min(count, images), images), range(min(count, images)))


def train_test_rule(
    test_share: float | None, test_count: int | None, min_images: int, max_images: int | None
) -> TrainTestRule:
    """The last ``test_share`` (by default 0.4) or ``test_count`` images of an identity as its test.

    Raises :class:`FedfrError` for both at once, a share outside 0 ≤ share < 1, and a count that leaves nothing to train
    on of an identity with ``min_images``, or ``max_images`` where that is less.
    """
    if test_count is not None:
        check_minimum(0, test_count=test_count)
    if test_share is not None and test_count is not None:
        raise FedfrError(f"split settings test_share = {test_share} and test_count = {test_count}; give one of the two")
    if test_share is not None and not (isinstance(test_share, int | float) and 0 <= test_share < 1):
        raise FedfrError(f"split setting test_share = {test_share!r}; give a share from 0 to less than 1")
    least = min_images if max_images is None else min(min_images, max_images)
    if test_count is None:
        return last_as_test(held_out_count(0.4 if test_share is None else test_share))
    if least <= test_count:
        raise FedfrError(
            f"split setting test_count = {test_count} leaves nothing to train on from {least} images; "
            "lower it or raise min_images and max_images"
        )
    return last_as_test(lambda _: test_count)


def training_part_only(divide: TrainTestRule) -> TrainTestRule:
    """Only what ``divide`` gives to training, divided once more in the same way."""

    def again(images: int) -> tuple[range, range]:
        kept = divide(images)[0]
        train, test = divide(len(kept))
        return kept[train.start : train.stop], kept[test.start : test.stop]

    return again


def held_out_count(share: float) -> Callable[[int], int]:
    """Round half up, but leave at least one image to train on and, unless ``share`` is 0, one to test."""
    part = exact(share)
    return lambda images: min(max(math.floor(part * images + Fraction(1, 2)), int(share > 0)), images - 1)
