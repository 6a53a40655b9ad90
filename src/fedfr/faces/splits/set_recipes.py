"""Split recipes ``sets`` and ``pins-fed`` for several face sets."""

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
from fedfr.faces.splits.deals import Deal, in_fixed_order
from fedfr.faces.splits.split import Split

__all__ = ["by_set", "pins_fed"]


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
    """Make one client of each private face set, named after the set; the public set is public, the generic set generic.

    Identities with fewer than ``min_images`` images are not used, and at most the first ``max_images`` of the others;
    the last ``test_share`` (default 0.4) or ``test_count`` images of a client's identity are for testing. Identities of
    the public set are sorted by name and shuffled once with ``seed``; the first ``public_identities`` (None: all) are
    public. Generic are the first ``generic_identities`` of the generic set or, without one, of the remaining public
    identities. With ``distractors="generic"`` their images are also non-mated probes of every client.
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
    train_images: int | None = None,
    test_count: int = 40,
    public_identities: int | None = None,
    public_images: int | None = None,
    public_from: str = "public",
    set_aside: int = 0,
    generic_identities: int | None = None,
    distractors: int | None = None,
    deals: int | None = None,
    validation: bool = False,
    seed: int = 0,
) -> Split:
    """Split two face sets for the benchmark: clients of 10 private identities, public identities of the other set.

    Private identities with more than ``train_count`` images are sorted by name and shuffled once, equally for every
    ``seed``. Split number ``seed`` takes the identities at its position in that order, so that splits share no identity
    while there are enough: with the 71 of Pins that are not in LFW these are splits 0, 1 and 2 of two clients. The
    first ``train_count`` images of each are for training, of which only the first ``train_images`` are used, up to
    ``test_count`` of the next ones for testing.

    Public are the first ``public_identities`` by name of the public set's identities with two or more images. Generic
    are: the first ``distractors`` by name of its identities with one image, which are also non-mated probes of every
    client; the next ``generic_identities`` private identities that no client has, with as many images as a client may
    have; and the generic set if there is one.

    With ``deals`` the splits with seeds 0 to ``deals`` - 1 share no identity except the public ones, which are the same
    in all: the first ``public_identities`` in an order that no setting changes. Private identities, the other
    identities of the public set, those with one image, and those of a generic set are each shuffled once, equally for
    every seed, and cut into ``deals`` + 1 equal parts, of which the split takes those at its seed. Generic private
    identities are those of the next deal; no generic identity has more images than a client may have of one. The last
    parts are the split with ``validation=True``, for choosing settings. It and a single deal have no next deal: their
    generic private identities are the last ones of their part, which no client has.

    For a comparison of public faces from the private set with those from another, the first ``set_aside`` private
    identities are in no deal, and with ``public_from="private"`` public. ``public_images`` is the smallest number of
    images of a public identity and the number used, so that both have equally many.
    """
    if not isinstance(validation, bool):
        raise FedfrError(f"split setting validation = {validation!r}; give true or false")
    if validation and deals is None:
        raise FedfrError("split setting validation = true needs deals, the number of splits beside it; give deals")
    sizes = client_sizes(clients, identities_per_client)
    used = train_count if train_images is None else train_images
    check_minimum(1, train_count=train_count, train_images=used)
    if used > train_count:
        raise FedfrError(f"split setting train_images = {used}; give at most train_count = {train_count}")
    _check_public(public_from, public_images, set_aside, deals)
    check_minimum(0, test_count=test_count, public_identities=_or_none(public_identities))
    check_minimum(0, generic_identities=generic_identities, distractors=distractors, seed=seed)
    _need_sets(faces, "pins-fed", "public", "private")
    counts, order = faces.counts(), identities_by_name(faces)
    known = in_role(faces, order, "public")
    public, single = ([label for label in known if (counts[label] > 1) == many] for many in (True, False))
    strangers = in_role(faces, order, "generic") if has_role(faces, "generic") else []
    pool = in_fixed_order(label for label in in_role(faces, order, "private") if counts[label] > train_count)
    needed = f"private identities with more than {train_count} images"
    lower = "clients, identities_per_client or train_count"
    check_available(set_aside + sum(sizes), len(pool), needed, lower)
    aside, pool = pool[:set_aside], pool[set_aside:]
    public = public if deals is None else in_fixed_order(public)
    eligible = [label for label in public if counts[label] >= (public_images or 2)]
    described = f"public identities with {public_images or 'two'} or more images"
    check_available(public_identities or 0, len(eligible), described, "public_identities")
    shown = eligible[:public_identities]
    if deals is None:
        check_available(distractors or 0, len(single), "public identities with one image", "distractors")
        start = seed * sum(sizes) % len(pool)
        pool = pool[start:] + pool[:start]
        own, others = pool[: sum(sizes)], pool[sum(sizes) :]
        check_available(generic_identities or 0, len(others), "private identities of no client", "generic_identities")
        single, others = single[:distractors], others[:generic_identities]
    else:
        deal = Deal.of(deals, seed, validation)
        own = deal.part(pool, sum(sizes), needed, lower)
        others = _unseen_private(deal, pool, len(own), generic_identities, needed)
        seen = {*shown}
        rest, single = [label for label in public if label not in seen], in_fixed_order(single)
        strangers = deal.part(in_fixed_order(strangers), None, "identities of the generic set")
        strangers += deal.part(rest, None, "identities of the public set that are not public", "public_identities")
        single = deal.part(single, distractors, "public identities with one image", "distractors")
    if public_from == "private":
        check_available(public_identities or 0, len(aside), "private identities in no deal", "public_identities")
        shown = aside[:public_identities]
    singles, most = images_of(faces, single), train_count + test_count
    # In a deal, one identity with hundreds of images would outweigh all others.
    generic = images_of(faces, others, most) + images_of(faces, strangers, None if deals is None else most) + singles
    return Split(
        name="pins-fed",
        seed=seed,
        faces_fingerprint=faces.fingerprint(),
        public=images_of(faces, shown, public_images),
        clients=assign_to_clients(
            faces,
            own,
            sizes,
            lambda images: (range(used), range(train_count, images)),
            most,
        ),
        generic=ImageIndices(sorted(generic)),
        distractors=singles,
    )


def _unseen_private(deal: Deal, pool: list[int], at_clients: int, wanted: int | None, needed: str) -> list[int]:
    """Return private identities that test the generic model: of the next deal, else of the own part after clients'."""
    if deal.following is not None:
        return deal.following.part(pool, wanted, needed, "generic_identities")
    others = deal.part(pool, None, needed)[at_clients:]
    check_available(wanted or 0, len(others), "private identities of no client", "generic_identities")
    return others[:wanted]


def _check_public(public_from: str, public_images: int | None, set_aside: int, deals: int | None) -> None:
    """Check the settings of a comparison of public faces from one set or another."""
    check_minimum(2, public_images=2 if public_images is None else public_images)
    check_minimum(0, set_aside=set_aside)
    if public_from not in ("public", "private"):
        raise FedfrError(f"split setting public_from = {public_from!r}; give public or private")
    if set_aside and deals is None:
        raise FedfrError(f"split setting set_aside = {set_aside} is for splits with deals; give deals as well")
    if public_from == "private" and not set_aside:
        raise FedfrError(
            "split setting public_from = 'private' takes the public identities from the private ones that are in no "
            "deal; give their number, set_aside"
        )


def _or_none(public_identities: int | None) -> int:
    """Convert None, which means all identities, to a number that :func:`check_minimum` accepts."""
    return 0 if public_identities is None else public_identities


def _need_sets(faces: FaceSet, recipe: str, *roles: str) -> None:
    for role in roles:
        if not has_role(faces, role):
            raise FedfrError(
                f"split {recipe!r} needs a {role} face set; give faces.{role}, or --{role} to `fedfr faces split`"
            )
