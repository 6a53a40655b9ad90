"""Split recipe ``lfw-fed``, the benchmark on Labeled Faces in the Wild."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from fedfr.core.errors import FedfrError
from fedfr.faces.array_columns import ImageIndices, concatenate_indices
from fedfr.faces.faceset import FaceSet
from fedfr.faces.readers.pairs.face_pairs import read_pairs
from fedfr.faces.splits.assignment import (
    assign_to_clients,
    check_available,
    check_minimum,
    client_sizes,
    held_out_count,
    identities_by_name,
    images_of,
    last_as_test,
    training_part_only,
)
from fedfr.faces.splits.deals import Deal, in_fixed_order
from fedfr.faces.splits.split import Split

__all__ = ["lfw_fed"]


def lfw_fed(
    faces: FaceSet,
    *,
    clients: int = 10,
    identities_per_client: int | Sequence[int] = 15,
    min_images: int = 10,
    max_images: int = 30,
    public_identities: int = 1000,
    generic_identities: int | None = None,
    distractors: int | None = None,
    pairs: str | tuple[tuple[int, int], ...] | None = None,
    deals: int | None = None,
    unseen_identities: int = 0,
    validation: bool = False,
    seed: int = 100,
) -> Split:
    """Split Labeled Faces in the Wild for the benchmark: 10 clients x 15 identities, 1 000 public, the others generic.

    With identities sorted by name, one ``random.Random(seed)`` shuffles first those with ``min_images`` or more images
    (158, candidates for clients), then those with two or more but fewer than that (1 522, candidates for public).
    Clients take the first ones of the former, 15 each; the remaining 8 are not used. Public takes the first 1 000 of
    the latter, generic the others (522). The 4 069 identities with one image are distractors and also generic. Clients'
    identities keep their first ``max_images`` images; the last 40 % of these, rounded half up, are for testing.

    Fewer clients or public identities are a prefix of the full split; ``generic_identities`` keeps only as many from
    the end of the public candidates, ``distractors`` only the first by name. ``pairs`` is the file of the official
    pairs, or indices of images: those of two generic people are verified too.

    With ``deals`` the splits with seeds 0 to ``deals`` - 1 share no identity except the public ones, which are the same
    in all: candidates for clients, candidates for public that are not public, and identities with one image are each
    shuffled once, equally for every seed, and cut into ``deals`` + 1 equal parts. The split takes the parts at its
    seed, and at most ``generic_identities`` and ``distractors`` of them. Few ``pairs`` lie within one part: verified
    are those of all people who are neither public, nor a client's in this split, nor in the last parts. The splits
    therefore share most pairs. The last ``unseen_identities`` of the part of candidates for clients are generic, too,
    with their first ``max_images`` images: they give many more genuine pairs than those with few images.

    ``validation=True`` is for choosing settings. With ``deals`` it is the split of the last parts, which no seed has.
    Without, clients have the same identities, but no test image of the split otherwise made is used: their training
    images are divided again in the same way; the last fifth of the public identities is generic, and its images are
    the distractors.
    """
    _check_choices(validation, pairs, deals, unseen_identities)
    sizes = client_sizes(clients, identities_per_client)
    check_minimum(3, min_images=min_images)
    check_minimum(min_images, max_images=max_images)
    check_minimum(
        0,
        public_identities=public_identities,
        generic_identities=generic_identities,
        distractors=distractors,
        unseen_identities=unseen_identities,
    )
    counts, order = faces.counts(), identities_by_name(faces)
    private = [label for label in order if counts[label] >= min_images]
    public = [label for label in order if 2 <= counts[label] < min_images]
    single = [label for label in order if counts[label] == 1]
    many, few = f"identities with {min_images} or more images", f"identities with 2 to {min_images - 1} images"
    divide = last_as_test(held_out_count(0.4))
    if deals is None:
        generator = random.Random(seed)
        generator.shuffle(private)
        generator.shuffle(public)
        unseen = len(public) - public_identities if generic_identities is None else generic_identities
        wanted = public_identities + max(unseen, 0)
        check_available(sum(sizes), len(private), many, "clients or identities_per_client")
        check_available(wanted, len(public), few, "public_identities or generic_identities")
        if distractors is not None:
            check_available(distractors, len(single), "identities with one image", "distractors")
        shown, others, single = public[:public_identities], public[len(public) - unseen :], single[:distractors]
    else:
        deal = Deal.of(deals, seed, validation)
        public = in_fixed_order(public)
        check_available(public_identities, len(public), few, "public_identities")
        shown, others = public[:public_identities], public[public_identities:]
        pools = in_fixed_order(private), others, in_fixed_order(single)
        lower = "clients, identities_per_client, unseen_identities"
        deal.part(pools[0], sum(sizes) + unseen_identities, many, lower)
        private = deal.part(pools[0], None, many)
        others = deal.part(others, generic_identities, f"{few} that are not public", "generic_identities")
        single = deal.part(pools[2], distractors, "identities with one image", "distractors")
    unseen_private, private = private[len(private) - unseen_identities :], private[: sum(sizes)]
    in_pairs = {*others, *single}
    if deals is not None and not validation:
        chosen_on = {label for pool in pools for label in Deal(deals, deals).part(pool, None, many)}
        in_pairs = {*order} - {*shown, *private} - chosen_on
    singles = images_of(faces, single)
    unseen_images = [images_of(faces, others), images_of(faces, unseen_private, max_images), singles]
    generic = ImageIndices(np.sort(concatenate_indices(unseen_images)))
    if validation and deals is None:
        kept = len(shown) - len(shown) // 5
        in_pairs = {*shown[kept:]}
        shown, generic = shown[:kept], images_of(faces, shown[kept:])
        singles, divide = generic, training_part_only(divide)
    given = read_pairs(pairs, faces) if isinstance(pairs, str) else pairs or ()
    return Split(
        name="lfw-fed",
        seed=seed,
        faces_fingerprint=faces.fingerprint(),
        public=images_of(faces, shown),
        clients=assign_to_clients(faces, private, sizes, divide, max_images),
        generic=generic,
        distractors=singles,
        pairs=tuple(pair for pair in given if in_pairs.issuperset(faces.labels[list(pair)].tolist())),
    )


def _check_choices(validation: object, pairs: object, deals: int | None, unseen_identities: int) -> None:
    if not isinstance(validation, bool):
        raise FedfrError(f"split setting validation = {validation!r}; give true or false")
    if not isinstance(pairs, str | tuple | None):
        raise FedfrError(f"split setting pairs = {pairs!r}; give the path of a list of pairs")
    if unseen_identities and deals is None:
        raise FedfrError(f"split setting unseen_identities = {unseen_identities} needs the setting deals; give both")
