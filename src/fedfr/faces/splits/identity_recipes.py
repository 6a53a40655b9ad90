"""Split recipes that assign identities to the public part, the clients and the unseen part."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fedfr.core.errors import FedfrError
from fedfr.core.named_objects import parameters_of
from fedfr.core.registry import Entry, Extensions, Registry
from fedfr.faces.array_columns import ImageIndices, concatenate_indices
from fedfr.faces.faceset import FaceSet
from fedfr.faces.readers.pairs.face_pairs import read_pairs
from fedfr.faces.splits.assignment import (
    assign_to_clients,
    check_available,
    check_minimum,
    client_sizes,
    has_role,
    held_out_count,
    identities_by_name,
    images_of,
    in_role,
    last_as_test,
    train_test_rule,
    training_part_only,
)
from fedfr.faces.splits.ms1m_fedfr import ms1m_fedfr
from fedfr.faces.splits.omitted_images import make_split_without, omitted_images
from fedfr.faces.splits.partition_recipe import by_partition
from fedfr.faces.splits.set_recipes import by_set, pins_fed
from fedfr.faces.splits.site_recipe import sites
from fedfr.faces.splits.split import Split

__all__ = ["SPLITS", "by_partition", "general", "lfw_fed", "make_split", "ms1m_fedfr", "quickstart", "sites"]

COMMON_SETTINGS = ("duplicates", "exclude")


def make_split(faces: FaceSet, recipe: str, **settings: Any) -> Split:
    """Deal ``faces`` out by a recipe of :data:`SPLITS`, record its settings, and check that nothing leaks.

    Every recipe also takes ``duplicates``: with ``"error"`` (the default) the very same image in two parts is a
    fault, with ``"drop"`` the recipe sees only what :func:`~fedfr.faces.exact_duplicates.without_duplicates` leaves.
    ``exclude`` is a list of findings: the recipe does not see the images that it marks
    (:func:`~fedfr.faces.exclusions.read_exclusions`). What is left out is in the split, with the reason, and logged.
    Raises :class:`FedfrError` for an unknown recipe or setting, for too few identities, and as
    :meth:`Split.check` does.

    >>> import numpy as np
    >>> from fedfr import FaceSet, make_split
    >>> pixels = np.random.default_rng(0).integers(0, 256, (32, 112, 112, 3), np.uint8)
    >>> faces = FaceSet(pixels, np.repeat(np.arange(8), 4), [f"person-{number}" for number in range(8)])
    >>> split = make_split(faces, "general", public_identities=3, clients=2, identities_per_client=2, test_count=1)
    >>> {client: (len(images.train), len(images.test)) for client, images in split.clients.items()}
    {'client-01': (6, 2), 'client-02': (6, 2)}
    >>> len(split.public), len(split.generic)
    (12, 4)
    """
    make = SPLITS[recipe]
    signature = inspect.signature(make)
    known = {name: value for name, value in signature.parameters.items() if name != "faces"}
    duplicates = settings.pop("duplicates", "error")
    if duplicates not in ("error", "drop"):
        raise FedfrError(f"split setting duplicates = {duplicates!r}; give error or drop")
    exclude = settings.pop("exclude", None)
    for name in settings:
        if name not in known:
            raise FedfrError(
                f"split {recipe!r} has no setting {name!r}; it has {', '.join([*known, *COMMON_SETTINGS])}"
            )
    required = [name for name, value in known.items() if value.default is inspect.Parameter.empty]
    missing = [name for name in required if name not in settings]
    if missing:
        several = len(missing) > 1
        listed = " and ".join(filter(None, (", ".join(map(repr, missing[:-1])), repr(missing[-1]))))
        raise FedfrError(
            f"split {recipe!r} needs the setting{'s' if several else ''} {listed}; give {'them' if several else 'it'}"
        )
    if isinstance(settings.get("seed", 0), bool) or not isinstance(settings.get("seed", 0), int):
        raise FedfrError(f"split setting seed = {settings['seed']!r}; give a whole number")
    given = signature.bind(faces, **settings)
    given.apply_defaults()
    recorded = {name: given.arguments[name] for name in known}
    if exclude is not None:
        recorded["exclude"] = str(exclude)
    if duplicates == "drop":
        recorded["duplicates"] = duplicates
    left = omitted_images(faces, exclude, copied=duplicates == "drop")
    made = make_split_without(make, faces, settings, left) if left else make(faces, **settings)
    if not isinstance(made, Split):
        raise FedfrError(f"split {recipe!r} returned a {type(made).__name__}; let it return a fedfr.Split")
    split = replace(made, settings=recorded).describe(faces)
    split.check(faces)
    return split


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
    seed: int = 100,
) -> Split:
    """Any faces: identities sorted by name, shuffled once with ``seed``, dealt to clients, public and generic.

    ``identities_per_client`` is a number, or one for every client. Clients and public take only identities with
    ``min_images`` or more, and at most the first ``max_images`` of each;
    of a client's identity the last ``test_share`` (0 ≤ share < 1, default 0.4) or ``test_count`` images are its test.
    What is left is generic: all identities, or the first ``generic_identities``. With ``distractors="generic"`` these
    people's images are non-mated probes of every client as well; with ``"none"`` only other clients' test images are.
    Of several face sets, public identities come from the public set and clients' from private ones; generic are those
    of the generic set, or without one what is left of all.
    """
    sizes = client_sizes(clients, identities_per_client)
    check_minimum(1, max_images=max_images)
    check_minimum(0, public_identities=public_identities, generic_identities=generic_identities)
    check_minimum(1, min_images=min_images)
    divide = train_test_rule(test_share, test_count, min_images, max_images)
    if distractors not in ("none", "generic"):
        raise FedfrError(f"split setting distractors = {distractors!r}; give none or generic")
    order = identities_by_name(faces)
    random.Random(seed).shuffle(order)
    counts = faces.counts()
    eligible = [label for label in order if counts[label] >= min_images]
    what = f"identities with {min_images} or more images"
    lower = "clients, identities_per_client, public_identities or min_images"
    private, public = in_role(faces, eligible, "private"), in_role(faces, eligible, "public")
    if faces.sets:
        check_available(sum(sizes), len(private), f"private {what}", lower)
        check_available(public_identities, len(public), f"public {what}", lower)
    else:
        check_available(sum(sizes) + public_identities, len(eligible), what, lower)
        public = eligible[sum(sizes) :]
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
    seed: int = 100,
) -> Split:
    """Small and quick, sized for ORL: 16 public identities, 4 clients x 4, the other 8 unseen; 5 images train, 5 test.

    Dealt as :func:`general` does; identities with fewer than ``train_count + test_count`` images are not trained on.
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
        seed=seed,
    )
    return replace(split, name="quickstart")


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
    """The benchmark on Labeled Faces in the Wild: 10 clients x 15 identities, 1 000 public, the rest unseen.

    With identities sorted by name, one ``random.Random(seed)`` shuffles first the list of those with 10 or more images
    (158: private candidates), then the list of those with 2 … 9 (1 522: public candidates). Clients take the private
    list from its start, 15 each; the 8 that remain are left unused. Public takes the first 1 000 of the public list,
    generic the rest (522). The 4 069 identities with one image are distractors and belong to generic too. Private
    identities keep their first 30 images; of these the last 40 %, rounded half up, are the test.

    Fewer clients or public identities are a prefix of the whole; ``generic_identities`` keeps only as many from the end
    of the public list, ``distractors`` only the first by name. ``pairs`` is the file of the official pairs: those that
    touch neither private nor public identities, and no image that was left out, are verified too.

    ``validation=True`` is for choosing settings: it deals the same clients, but shows no face that the split otherwise
    tests on. Private identities keep their training images only, divided as before; the last fifth of the public
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
    divide, people = last_as_test(held_out_count(0.4)), public[:public_identities]
    alone = images_of(faces, single[:distractors])
    generic = ImageIndices(np.sort(concatenate_indices([images_of(faces, public[len(public) - unseen :]), alone])))
    if validation:
        held_back = len(people) // 5
        people, generic = people[: len(people) - held_back], images_of(faces, people[len(people) - held_back :])
        alone, divide = generic, training_part_only(divide)
    given, inside = () if pairs is None else read_pairs(pairs, faces), set() if pairs is None else set(generic)
    return Split(
        name="lfw-fed",
        seed=seed,
        faces_fingerprint=faces.fingerprint(),
        public=images_of(faces, people),
        clients=assign_to_clients(faces, private, sizes, divide, 30),
        generic=generic,
        distractors=alone,
        pairs=tuple(pair for pair in given if inside.issuperset(pair)),
    )


def _accept(value: Any) -> Callable[..., Split] | None:
    return value if parameters_of(value)[:1] == ("faces",) else None


SPLITS: Registry[Callable[..., Split]] = Registry(
    "split",
    (
        Entry("general", general, "any faces: identities dealt to clients, public and generic, by the settings given"),
        Entry("quickstart", quickstart, "ORL in small: 16 public identities, 4 clients of 4, 8 unseen"),
        Entry("lfw-fed", lfw_fed, "the benchmark on LFW: 10 clients of 15 identities, 1 000 public, 4 591 unseen"),
        Entry(
            "ms1m-fedfr",
            ms1m_fedfr,
            "the paper's split of MS1M-ArcFace: 40 clients of 100 identities, 6 000 public, from disjoint halves",
            "FedFR, AAAI 2022, arXiv 2112.12496",
        ),
        Entry(
            "partition", by_partition, "a client for each partition that a file gives, or a flwr-datasets partitioner"
        ),
        Entry("sets", by_set, "several face sets: a client for each private set; the public and the generic set whole"),
        Entry("pins-fed", pins_fed, "two face sets: clients of 10 people with 60 training images each; LFW is public"),
        Entry("sites", sites, "clients on machines of their own, by name; all faces here are public or generic"),
    ),
    Extensions("fedfr.splits", "a function of faces and of its settings that returns a fedfr.Split", _accept),
)
