"""Split recipe ``sites``, for clients whose faces are on other machines."""

from __future__ import annotations

import random
from collections.abc import Sequence

from fedfr.core.client_ids import check_client_ids
from fedfr.core.errors import FedfrError
from fedfr.faces.faceset import FaceSet
from fedfr.faces.splits.assignment import (
    check_available,
    check_minimum,
    has_role,
    identities_by_name,
    images_of,
    in_role,
)
from fedfr.faces.splits.split import Split
from fedfr.faces.splits.split_parts import ClientFaces

__all__ = ["sites"]


def sites(
    faces: FaceSet,
    *,
    clients: Sequence[str],
    generic_identities: int = 0,
    distractors: str = "none",
    seed: int = 100,
) -> Split:
    """Make clients whose faces are on other machines; all ``faces`` are public or generic.

    ``clients`` are the client ids of the sites (:mod:`fedfr.core.client_ids`). Identities are sorted by name and
    shuffled once with ``seed``; the first ``generic_identities`` are generic, the others public. With several face
    sets this applies to the public one, and the generic set is generic too.
    """
    if not isinstance(clients, Sequence):
        raise FedfrError(f"split setting clients = {clients!r}; give the ids in a list, for example [north, south]")
    named = [clients] if isinstance(clients, str) else list(clients)
    check_client_ids([name for at, name in enumerate(named) if name not in named[:at]], "split setting clients:")
    if not named or len(set(named)) < len(named):
        raise FedfrError(f"split setting clients = {named}; give one or more ids, each once")
    check_minimum(0, generic_identities=generic_identities)
    if distractors not in ("none", "generic"):
        raise FedfrError(f"split setting distractors = {distractors!r}; give none or generic")
    order = in_role(faces, identities_by_name(faces), "public")
    random.Random(seed).shuffle(order)
    check_available(generic_identities, len(order), "identities", "generic_identities")
    public, unseen = (images_of(faces, part) for part in (order[generic_identities:], order[:generic_identities]))
    if has_role(faces, "generic"):
        unseen += images_of(faces, in_role(faces, range(faces.num_identities), "generic"))
    return Split(
        name="sites",
        seed=seed,
        faces_fingerprint=faces.fingerprint(),
        public=public,
        clients={name: ClientFaces((), (), elsewhere=True) for name in sorted(named)},
        generic=unseen,
        distractors=unseen if distractors == "generic" else (),
    )
