"""Split recipe ``partition``, with one client per partition of the images."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from fedfr.core.client_ids import check_client_id
from fedfr.core.errors import FedfrError
from fedfr.faces.array_columns import ImageIndices, concatenate_indices
from fedfr.faces.faceset import FaceSet
from fedfr.faces.grouping import ByIdentity
from fedfr.faces.splits.assignment import (
    TrainTestRule,
    check_available,
    check_minimum,
    divide_images,
    identities_by_name,
    images_of,
    in_role,
    train_test_rule,
)
from fedfr.faces.splits.partition_files import Partition, read_partitions
from fedfr.faces.splits.shared_identities import SHARED_IDENTITIES, PartitionCounts
from fedfr.faces.splits.split import Split
from fedfr.faces.splits.split_parts import ClientFaces

__all__ = ["by_partition"]

Ints = NDArray[np.int64]


def by_partition(
    faces: FaceSet,
    *,
    partition: str | Sequence[Partition | None],
    shared_identities: str = "refuse",
    public_identities: int = 0,
    public_partitions: Sequence[Partition] = (),
    generic_identities: int = 0,
    test_share: float | None = None,
    test_count: int | None = None,
    min_images: int = 2,
    max_images: int | None = None,
    distractors: str = "none",
    seed: int = 100,
) -> Split:
    """Make one client of each partition; ``partition`` is a file or a list with the partition of each image.

    Partition 7 becomes ``client-07``, a named one keeps its name. Images in no partition are left out. No two clients
    share an identity:

    1. With the identities sorted by name and shuffled with ``seed``, ``public_identities`` of those with ``min_images``
       or more are public and the next ``generic_identities`` are generic, whatever their partition. A partition
       without other identities does not become a client. With several face sets, public are that many identities of
       the public set, or all of it.
    2. ``shared_identities`` is the rule for an identity in several partitions: ``refuse``, ``drop``, or ``largest``, by
       which the partition with most of its images keeps these and the others are omitted.
    3. Identities of ``public_partitions`` are public too.
    4. A client has only identities with ``min_images`` or more in its partition; the first ``max_images`` are used, of
       which the last ``test_share`` (0 ≤ share < 1, default 0.4) or ``test_count`` are for testing.
    5. Identities without owner are generic; with ``distractors="generic"`` their images are also non-mated probes of
       every client.

    Raises :class:`FedfrError` for settings out of range, for shared identities that are refused, and for a partition
    without remaining identities.
    """
    check_minimum(1, min_images=min_images, max_images=max_images)
    check_minimum(0, public_identities=public_identities, generic_identities=generic_identities)
    divide = train_test_rule(test_share, test_count, min_images, max_images)
    if distractors not in ("none", "generic"):
        raise FedfrError(f"split setting distractors = {distractors!r}; give none or generic")
    given = (
        read_partitions(partition, faces) if isinstance(partition, str) else _check_partitions(partition, len(faces))
    )
    partitions = _sorted({own for own in given if own is not None})
    if not partitions:
        raise FedfrError("split setting partition assigns no image to a partition; assign images to at least one")
    open_to_all = _check_public_partitions(partitions, public_partitions)

    # `own_of` is the position of each image's partition, -1 for none; `drawn` marks public and generic identities.
    place: dict[Partition | None, int] = {None: -1, **{own: number for number, own in enumerate(partitions)}}
    own_of = np.fromiter((place[own] for own in given), np.int64, len(given))
    public, generic = _draw_identities(faces, public_identities, generic_identities, min_images, seed)
    drawn = np.zeros(faces.num_identities, np.bool_)
    drawn[[*public, *generic]] = True
    spread = _partition_counts(faces, own_of, partitions, drawn)
    # A partition whose identities were all drawn is not a client; one that loses them otherwise is an error.
    left = {own for found in spread.values() for own in found} - open_to_all
    if not left:
        raise FedfrError("no partition is left to be a client; lower public_identities or generic_identities")
    owner = np.full(faces.num_identities, -2, np.int64)
    for label, own in SHARED_IDENTITIES[shared_identities](faces, spread).items():
        owner[label] = place[own]
    # Images in the partition that owns their identity, without identities that have too few of them.
    rows = np.flatnonzero(owner[faces.labels] == own_of)
    images = ByIdentity(faces.labels[rows], faces.num_identities)
    owner[images.counts < min_images] = -2
    owned = {own: np.flatnonzero(owner == number) for number, own in enumerate(partitions)}
    shown: list[Sequence[int] | Ints] = [images_of(faces, sorted(public), max_images)]
    shown += [rows[images.of(owned[own], last=max_images)] for own in partitions if own in open_to_all]
    known = owner >= 0
    known[sorted(public)] = True
    unseen = ImageIndices(np.flatnonzero(~known[faces.labels]))
    return Split(
        name="partition",
        seed=seed,
        faces_fingerprint=faces.fingerprint(),
        public=ImageIndices(np.sort(concatenate_indices(shown))),
        clients={
            _client(own, partitions): _client_faces(own, owned[own], rows, images, divide, min_images, max_images)
            for own in partitions
            if own in left
        },
        generic=unseen,
        distractors=unseen if distractors == "generic" else (),
    )


def _check_partitions(partitions: Sequence[Partition | None], images: int) -> Sequence[Partition | None]:
    if not isinstance(partitions, Sequence):
        raise FedfrError(f"split setting partition = {partitions!r}; give a file, or a list with one for each image")
    if len(partitions) != images:
        raise FedfrError(f"split setting partition holds {len(partitions)} entries for {images} images; give one each")
    for own in partitions:
        if isinstance(own, bool) or not isinstance(own, int | str | None) or (isinstance(own, int) and own < 0):
            raise FedfrError(f"split setting partition holds {own!r}; give whole numbers from 0, names or null")
    return partitions


def _partition_counts(
    faces: FaceSet, own_of: Ints, partitions: Sequence[Partition], drawn: NDArray[np.bool_]
) -> PartitionCounts:
    """Count the images by partition of each identity that was not drawn; identities by name, partitions in order."""
    rows = np.flatnonzero((own_of >= 0) & ~drawn[faces.labels])
    pairs, counts = np.unique(faces.labels[rows] * len(partitions) + own_of[rows], return_counts=True)
    found: dict[int, Counter[Partition]] = {}
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        label, number = divmod(pair, len(partitions))
        found.setdefault(label, Counter())[partitions[number]] = count
    return {label: found[label] for label in sorted(found, key=faces.identities.__getitem__)}


def _draw_identities(
    faces: FaceSet, public: int, generic: int, min_images: int, seed: int
) -> tuple[set[int], set[int]]:
    """Return the labels of the public and of the generic identities."""
    counts, order = faces.counts(), identities_by_name(faces)
    random.Random(seed).shuffle(order)
    eligible = [label for label in order if counts[label] >= min_images]
    wanted = f"identities with {min_images} or more images for the public and the generic part"
    check_available(public + generic, len(eligible), wanted, "public_identities, generic_identities or min_images")
    if faces.sets:
        open_to_all = in_role(faces, eligible, "public")
        wanted = f"public identities with {min_images} or more images"
        check_available(public, len(open_to_all), wanted, "public_identities or min_images")
        chosen = {*open_to_all[: public or None]}
        return chosen, {*[label for label in eligible if label not in chosen][:generic]}
    return {*eligible[:public]}, {*eligible[public : public + generic]}


def _sorted(partitions: Iterable[Partition]) -> list[Partition]:
    """Sort partitions, numbers before names."""
    return sorted(partitions, key=lambda own: (isinstance(own, str), own))


def _check_public_partitions(partitions: Sequence[Partition], chosen: Sequence[Partition]) -> set[Partition]:
    if isinstance(chosen, str) or not isinstance(chosen, Sequence):
        raise FedfrError(f"split setting public_partitions = {chosen!r}; give a list, for example [0]")
    for own in chosen:
        if own not in partitions:
            raise FedfrError(
                f"split setting public_partitions names {own!r}; the partitions are {', '.join(map(str, partitions))}"
            )
    return set(chosen)


def _client(own: Partition, partitions: Sequence[Partition]) -> str:
    numbers = [number for number in partitions if isinstance(number, int)]
    if isinstance(own, int):
        return f"client-{own:0{max(2, len(str(max(numbers))))}d}"
    if own.startswith("client-"):
        raise FedfrError(
            f"partition {own!r} cannot be a client id; use numbers, or names that do not begin with 'client-'"
        )
    return check_client_id(own, "partition")


def _client_faces(
    own: Partition,
    labels: Ints,
    rows: Ints,
    images: ByIdentity,
    divide: TrainTestRule,
    min_images: int,
    max_images: int | None,
) -> ClientFaces:
    """Return the training and test images, among ``rows``, of the identities that a partition owns."""
    if not len(labels):
        raise FedfrError(
            f"partition {own!r} has no identity of its own with {min_images} or more images; lower min_images, or make "
            "fewer or larger partitions"
        )
    parts = divide_images(images, labels.tolist(), divide, max_images)
    return ClientFaces(ImageIndices(rows[np.asarray(parts.train)]), ImageIndices(rows[np.asarray(parts.test)]))
