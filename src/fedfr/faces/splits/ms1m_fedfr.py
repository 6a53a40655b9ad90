"""Split recipe ``ms1m-fedfr``: that of the paper (FedFR, arXiv 2112.12496, section 4.1) as in its authors' scripts."""

from __future__ import annotations

import random
from collections.abc import Sequence

from fedfr.core.errors import FedfrError
from fedfr.faces.faceset import FaceSet
from fedfr.faces.splits.assignment import (
    assign_to_clients,
    check_available,
    check_minimum,
    client_sizes,
    first_as_test,
    images_of,
)
from fedfr.faces.splits.split import Split

__all__ = ["ms1m_fedfr"]


def ms1m_fedfr(
    faces: FaceSet,
    *,
    public_identities: int = 6000,
    public_min_images: int = 61,
    public_max_images: int = 79,
    clients: int = 40,
    identities_per_client: int | Sequence[int] = 100,
    private_min_images: int = 101,
    private_max_images: int = 109,
    test_count: int = 40,
    generic_identities: int | None = 0,
    seed: int = 100,
) -> Split:
    """Split MS1M-ArcFace: 40 clients x 100 identities of 101 … 109 images, 6 000 public ones of 61 … 79.

    ``random.Random(seed)`` shuffles the identities once in the order of the set, because the scripts identify them by
    label, not by name. Clients take the first ones with ``private_min_images`` … ``private_max_images`` images in the
    first half, in turn; public takes those with ``public_min_images`` … ``public_max_images`` in the second half; the
    middle one of an odd number is in neither. All images of these identities are used; the first ``test_count`` of a
    client's are for testing.

    There are no distractors: only the clients' test images are probes. The first ``generic_identities`` of the
    remaining identities are generic (None: all); the default is none, as comparing all pairs of their millions of
    images is not feasible.
    """
    sizes = client_sizes(clients, identities_per_client)
    check_minimum(1, public_min_images=public_min_images, private_min_images=private_min_images)
    check_minimum(public_min_images, public_max_images=public_max_images)
    check_minimum(private_min_images, private_max_images=private_max_images)
    check_minimum(0, public_identities=public_identities, test_count=test_count, generic_identities=generic_identities)
    if test_count >= private_min_images:
        raise FedfrError(
            f"split setting test_count = {test_count} leaves no training images of {private_min_images} images; "
            "lower it or raise private_min_images"
        )
    counts = faces.counts()
    order = [label for label in range(faces.num_identities) if counts[label]]
    random.Random(seed).shuffle(order)
    half = len(order) // 2
    private = [label for label in order[:half] if private_min_images <= counts[label] <= private_max_images]
    public = [label for label in order[len(order) - half :] if public_min_images <= counts[label] <= public_max_images]
    check_available(
        sum(sizes),
        len(private),
        f"identities with {private_min_images} to {private_max_images} images in the first half",
        "clients or identities_per_client",
    )
    check_available(
        public_identities,
        len(public),
        f"identities with {public_min_images} to {public_max_images} images in the second half",
        "public_identities",
    )
    private, public = private[: sum(sizes)], public[:public_identities]
    taken = {*private, *public}
    remaining = [label for label in order if label not in taken]
    if generic_identities is not None:
        check_available(generic_identities, len(remaining), "identities for the generic part", "generic_identities")
    return Split(
        name="ms1m-fedfr",
        seed=seed,
        faces_fingerprint=faces.fingerprint(),
        public=images_of(faces, public),
        clients=assign_to_clients(faces, private, sizes, first_as_test(test_count)),
        generic=images_of(faces, remaining[:generic_identities]),
        distractors=(),
    )
