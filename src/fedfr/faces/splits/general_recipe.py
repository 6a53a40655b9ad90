"""Split recipes ``general`` and ``quickstart``, for one face set or several."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from fedfr.core.errors import FedfrError
from fedfr.faces.faceset import FaceSet
from fedfr.faces.splits.assignment import (
    assign_to_clients,
    check_available,
    check_minimum,
    client_sizes,
    has_role,
    identities_by_name,
    images_of,
    in_role,
    train_test_rule,
)
from fedfr.faces.splits.split import Split

__all__ = ["general", "quickstart"]


def general(
    faces: FaceSet,
    *,
    public_identities: int,
    clients: int,
    identities_per_client: int | Sequence[int],
    test_share: float | None = None,
    test_count: int | None = None,
    min_images: int = 2,
    max_images: int | None = None,
    generic_identities: int | None = None,
    distractors: str = "none",
    deals: int | None = None,
    seed: int = 100,
) -> Split:
    """Assign the identities of any faces to clients, public and generic by counts.

    Identities are sorted by name, shuffled once with ``seed``, and assigned in that order: first to clients, then to
    public. ``identities_per_client`` is one number, or one for every client. Clients and public take only identities
    with ``min_images`` images or more, and at most the first ``max_images`` of each. The last ``test_share`` (0 ≤ share
    < 1, default 0.4) or ``test_count`` images of a client's identity are for testing. The remaining identities, or the
    first ``generic_identities`` of them, are generic; with ``distractors="generic"`` their images are also non-mated
    probes of every client, with ``"none"`` only other clients' test images are.

    With several face sets, public identities are taken from the public set and those of clients from private sets;
    generic are the identities of the generic set, or without one the remaining identities of all sets.
    """
    sizes = client_sizes(clients, identities_per_client)
    check_minimum(1, max_images=max_images)
    check_minimum(0, public_identities=public_identities, generic_identities=generic_identities)
    check_minimum(1, min_images=min_images, deals=deals)
    divide = train_test_rule(test_share, test_count, min_images, max_images)
    if distractors not in ("none", "generic"):
        raise FedfrError(f"split setting distractors = {distractors!r}; give none or generic")
    deal, shuffle = (0, seed) if deals is None else (seed % deals, seed // deals)
    order = identities_by_name(faces)
    random.Random(shuffle).shuffle(order)
    counts = faces.counts()
    eligible = [label for label in order if counts[label] >= min_images]
    kind = f"identities with {min_images} or more images"
    to_lower = "clients, identities_per_client, public_identities or min_images"
    private, public = in_role(faces, eligible, "private"), in_role(faces, eligible, "public")
    if faces.sets:
        check_available(sum(sizes), len(private), f"private {kind}", to_lower)
        check_available(public_identities, len(public), f"public {kind}", to_lower)
    else:
        check_available(sum(sizes) + public_identities, len(eligible), kind, to_lower)
    if deals is not None:
        check_available(deals * sum(sizes), len(private), f"private {kind}", f"deals, {to_lower}")
        private = [*private[deal * sum(sizes) :], *private[: deal * sum(sizes)]]
    if not faces.sets:
        public = private[sum(sizes) :]
    private, public = private[: sum(sizes)], public[:public_identities]
    taken = {*private, *public}
    rest = [label for label in order if label not in taken]
    if has_role(faces, "generic"):
        rest = in_role(faces, rest, "generic")
    if generic_identities is not None:
        check_available(generic_identities, len(rest), "identities for the generic part", "generic_identities")
        rest = rest[:generic_identities]
    generic = images_of(faces, rest)
    return Split(
        name="general",
        seed=seed,
        faces_fingerprint=faces.fingerprint(),
        public=images_of(faces, public, max_images),
        clients=assign_to_clients(
            faces,
            private,
            sizes,
            divide,
            max_images,
        ),
        generic=generic,
        distractors=generic if distractors == "generic" else (),
    )


def quickstart(
    faces: FaceSet,
    *,
    public_identities: int = 16,
    clients: int = 4,
    identities_per_client: int | Sequence[int] = 4,
    train_count: int = 5,
    test_count: int = 5,
    generic_identities: int | None = None,
    distractors: str = "none",
    deals: int | None = None,
    seed: int = 100,
) -> Split:
    """Split for ORL: 16 public identities, 4 clients x 4, and 8 generic; 5 training and 5 test images per identity.

    Identities are assigned as by :func:`general`; those with fewer than ``train_count + test_count`` images are
    generic.
    """
    check_minimum(1, train_count=train_count)
    check_minimum(0, test_count=test_count)
    split = general(
        faces,
        public_identities=public_identities,
        clients=clients,
        identities_per_client=identities_per_client,
        test_count=test_count,
        min_images=train_count + test_count,
        max_images=train_count + test_count,
        generic_identities=generic_identities,
        distractors=distractors,
        deals=deals,
        seed=seed,
    )
    return replace(split, name="quickstart")
