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
from fedfr.faces.splits.split import Split

__all__ = ["lfw_fed"]


def lfw_fed(
    faces: FaceSet,
    *,
    clients: int = 10,
    identities_per_client: int | Sequence[int] = 15,
    public_identities: int = 1000,
    generic_identities: int | None = None,
    distractors: int | None = None,
    pairs: str | None = None,
    validation: bool = False,
    seed: int = 100,
) -> Split:
    """Split Labeled Faces in the Wild for the benchmark: 10 clients x 15 identities, 1 000 public, the others generic.

    With identities sorted by name, one ``random.Random(seed)`` shuffles first those with 10 or more images (158,
    candidates for clients), then those with 2 … 9 (1 522, candidates for public). Clients take the first ones of the
    former, 15 each; the remaining 8 are not used. Public takes the first 1 000 of the latter, generic the others (522).
    The 4 069 identities with one image are distractors and also generic. Clients' identities keep their first 30
    images; the last 40 % of these, rounded half up, are for testing.

    Fewer clients or public identities are a prefix of the full split; ``generic_identities`` keeps only as many from
    the end of the public candidates, ``distractors`` only the first by name. ``pairs`` is the file of the official
    pairs: those with two generic images are verified too.

    ``validation=True`` is for choosing settings: clients have the same identities, but no test image of the split
    otherwise made is used. Their training images are divided again in the same way; the last fifth of the public
    identities is generic, and its images are the distractors.
    """
    if not isinstance(validation, bool):
        raise FedfrError(f"split setting validation = {validation!r}; give true or false")
    sizes = client_sizes(clients, identities_per_client)
    check_minimum(
        0, public_identities=public_identities, generic_identities=generic_identities, distractors=distractors
    )
    counts, order = faces.counts(), identities_by_name(faces)
    private = [label for label in order if counts[label] >= 10]
    public = [label for label in order if 2 <= counts[label] <= 9]
    single = [label for label in order if counts[label] == 1]
    generator = random.Random(seed)
    generator.shuffle(private)
    generator.shuffle(public)
    check_available(
        sum(sizes),
        len(private),
        "identities with 10 or more images",
        "clients or identities_per_client",
    )
    unseen = len(public) - public_identities if generic_identities is None else generic_identities
    check_available(
        public_identities + max(unseen, 0),
        len(public),
        "identities with 2 to 9 images",
        "public_identities or generic_identities",
    )
    if distractors is not None:
        check_available(distractors, len(single), "identities with one image", "distractors")
    divide, shown = last_as_test(held_out_count(0.4)), public[:public_identities]
    singles = images_of(faces, single[:distractors])
    generic = ImageIndices(np.sort(concatenate_indices([images_of(faces, public[len(public) - unseen :]), singles])))
    if validation:
        kept = len(shown) - len(shown) // 5
        shown, generic = shown[:kept], images_of(faces, shown[kept:])
        singles, divide = generic, training_part_only(divide)
    given, inside = () if pairs is None else read_pairs(pairs, faces), set() if pairs is None else set(generic)
    return Split(
        name="lfw-fed",
        seed=seed,
        faces_fingerprint=faces.fingerprint(),
        public=images_of(faces, shown),
        clients=assign_to_clients(faces, private, sizes, divide, 30),
        generic=generic,
        distractors=singles,
        pairs=tuple(pair for pair in given if inside.issuperset(pair)),
    )
