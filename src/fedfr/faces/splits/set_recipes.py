"""Recipes for several face sets: which set an identity is in decides who may have it."""

from __future__ import annotations

import random
from collections.abc import Sequence

from fedfr.core.errors import FedfrError
from fedfr.faces.array_columns import ImageIndices
from fedfr.faces.faceset import FaceSet
from fedfr.faces.splits.assignment import (
    assign_to_clients,
    check_available,
    check_minimum,
    client_sizes,
    divide_images,
    has_role,
    identities_by_name,
    images_of,
    in_role,
    train_test_rule,
)
from fedfr.faces.splits.split import Split

__all__ = ["by_set", "pins_fed"]

PINS_ORDER = 100
"""Seed of the one order of private people that all deals of ``pins-fed`` are taken from."""


def by_set(
    faces: FaceSet,
    *,
    public_identities: int | None = None,
    generic_identities: int | None = None,
    test_share: float | None = None,
    test_count: int | None = None,
    min_images: int = 2,
    max_images: int | None = None,
    distractors: str = "none",
    seed: int = 100,
) -> Split:
    """A client for each private face set, called by the set's name; the public set is public, the generic set generic.

    Identities with fewer than ``min_images`` images are left to nobody, of the others at most the first ``max_images``
    are used; of a client's the last ``test_share`` (default 0.4) or ``test_count`` are its test. With the public
    identities sorted by name and shuffled once with ``seed``, the first ``public_identities`` are public (None: all);
    ``generic_identities`` likewise of the generic set or, without one, of the public identities that are left.
    ``distractors="generic"`` makes their images non-mated probes of every client.
    """
    check_minimum(1, min_images=min_images, max_images=max_images)
    check_minimum(0, public_identities=_or_none(public_identities), generic_identities=generic_identities)
    divide = train_test_rule(test_share, test_count, min_images, max_images)
    if distractors not in ("none", "generic"):
        raise FedfrError(f"split setting distractors = {distractors!r}; give none or generic")
    _need_sets(faces, "sets", "private")
    counts, order = faces.counts(), identities_by_name(faces)
    own = {
        part.name: [
            label
            for label in in_role(faces, order, "private")
            if counts[label] >= min_images and faces.identities[label].startswith(f"{part.name}/")
        ]
        for part in faces.sets
        if part.role == "private"
    }
    for name, labels in own.items():
        check_available(
            1, len(labels), f"identities with {min_images} or more images in face set {name!r}", "min_images"
        )
    random.Random(seed).shuffle(order)
    public = [label for label in in_role(faces, order, "public") if counts[label] >= min_images]
    check_available(public_identities or 0, len(public), "identities in the public face set", "public_identities")
    shown = public[:public_identities]
    unseen = in_role(faces, order, "generic") if has_role(faces, "generic") else public[len(shown) :]
    check_available(generic_identities or 0, len(unseen), "identities for the generic part", "generic_identities")
    generic = images_of(faces, unseen[:generic_identities])
    return Split(
        name="sets",
        seed=seed,
        faces_fingerprint=faces.fingerprint(),
        public=images_of(faces, shown, max_images),
        clients={name: divide_images(faces.by_identity(), labels, divide, max_images) for name, labels in own.items()},
        generic=generic,
        distractors=generic if distractors == "generic" else (),
    )


def pins_fed(
    faces: FaceSet,
    *,
    clients: int = 2,
    identities_per_client: int | Sequence[int] = 10,
    train_count: int = 60,
    test_count: int = 40,
    public_identities: int | None = None,
    generic_identities: int | None = None,
    distractors: int | None = None,
    seed: int = 0,
) -> Split:
    """The benchmark on two face sets: clients of 10 people of the private set, public people from another set.

    Private people with more than ``train_count`` images are sorted by name and shuffled once, the same for every
    ``seed``; deal number ``seed`` takes its people from there, so that deals share nobody as long as there are people
    enough: with the 71 of Pins that are not in LFW, deals 0, 1 and 2 of two clients. Of each, the first ``train_count``
    images are trained on and the next ``test_count``, or as many as there are, are the test.

    Public are the identities of the public set with two or more images, the first ``public_identities`` of them by
    name. Nobody trains on the public set's identities with one image (the first ``distractors`` by name, which are
    non-mated probes of every client too), nor on the private people of no client (the first ``generic_identities`` that
    follow in the deal's order, as many images of each as a client may have), nor on the generic set if there is one:
    they are generic.
    """
    sizes = client_sizes(clients, identities_per_client)
    check_minimum(1, train_count=train_count)
    check_minimum(0, test_count=test_count, public_identities=_or_none(public_identities))
    check_minimum(0, generic_identities=generic_identities, distractors=distractors, seed=seed)
    _need_sets(faces, "pins-fed", "public", "private")
    counts, order = faces.counts(), identities_by_name(faces)
    known = in_role(faces, order, "public")
    public, single = ([label for label in known if (counts[label] > 1) == many] for many in (True, False))
    pool = [label for label in in_role(faces, order, "private") if counts[label] > train_count]
    check_available(
        sum(sizes),
        len(pool),
        f"private identities with more than {train_count} images",
        "clients, identities_per_client or train_count",
    )
    check_available(
        public_identities or 0, len(public), "public identities with two or more images", "public_identities"
    )
    check_available(distractors or 0, len(single), "public identities with one image", "distractors")
    random.Random(PINS_ORDER).shuffle(pool)
    start = seed * sum(sizes) % len(pool)
    pool = pool[start:] + pool[:start]
    others = pool[sum(sizes) :]
    check_available(generic_identities or 0, len(others), "private identities of no client", "generic_identities")
    alone = images_of(faces, single[:distractors])
    generic = images_of(faces, others[:generic_identities], train_count + test_count) + alone
    if has_role(faces, "generic"):
        generic += images_of(faces, in_role(faces, order, "generic"))
    return Split(
        name="pins-fed",
        seed=seed,
        faces_fingerprint=faces.fingerprint(),
        public=images_of(faces, public[:public_identities]),
        clients=assign_to_clients(
            faces,
            pool,
            sizes,
            lambda images: (range(train_count), range(train_count, images)),
            train_count + test_count,
        ),
        generic=ImageIndices(sorted(generic)),
        distractors=alone,
    )


def _or_none(public_identities: int | None) -> int:
    """None stands for all of them, which :func:`at_least` does not allow where other recipes have the setting."""
    return 0 if public_identities is None else public_identities


def _need_sets(faces: FaceSet, recipe: str, *roles: str) -> None:
    for role in roles:
        if not has_role(faces, role):
            raise FedfrError(
                f"split {recipe!r} needs a {role} face set; give faces.{role}, or --{role} to `fedfr faces split`"
            )
