"""Registry of split recipes, and splits made by them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.core.named_objects import parameters_of
from fedfr.core.registry import Entry, Extensions, Registry
from fedfr.faces.faceset import FaceSet
from fedfr.faces.splits.assignment import check_minimum
from fedfr.faces.splits.general_recipe import general, quickstart
from fedfr.faces.splits.lfw_recipe import lfw_fed
from fedfr.faces.splits.ms1m_fedfr import ms1m_fedfr
from fedfr.faces.splits.omitted_images import make_split_without, omitted_images
from fedfr.faces.splits.partition_recipe import by_partition
from fedfr.faces.splits.set_recipes import by_set, pins_fed
from fedfr.faces.splits.site_recipe import sites
from fedfr.faces.splits.split import Split
from fedfr.faces.splits.stranger_identities import set_strangers_apart

__all__ = ["SPLITS", "make_split"]

COMMON_SETTINGS = ("duplicates", "exclude", "stranger_identities")


def make_split(faces: FaceSet, recipe: str, **settings: Any) -> Split:
    """Split ``faces`` by a recipe of :data:`SPLITS`; settings are recorded, and the split is checked for leaks.

    Every recipe also has three settings. ``duplicates``: with ``"error"`` (the default) the same image in two parts is
    an error, with ``"drop"`` exact duplicates are omitted before the recipe is applied
    (:func:`~fedfr.faces.exact_duplicates.without_duplicates`). ``exclude``: a list of findings whose marked images are
    omitted (:func:`~fedfr.faces.exclusions.read_exclusions`). ``stranger_identities``: number of generic identities
    that become strangers (:func:`~fedfr.faces.splits.stranger_identities.set_strangers_apart`). Omitted images are
    recorded in the split with the reason, and logged. Raises :class:`FedfrError` for an unknown recipe or setting, for
    too few identities, and as :meth:`Split.check` does.

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
    exclude, strangers = settings.pop("exclude", None), settings.pop("stranger_identities", 0)
    check_minimum(0, stranger_identities=strangers)
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
    omitted = omitted_images(faces, exclude, duplicates=duplicates == "drop")
    if strangers:
        recorded["stranger_identities"] = strangers
    result = make_split_without(make, faces, settings, omitted) if omitted else make(faces, **settings)
    if not isinstance(result, Split):
        raise FedfrError(f"split {recipe!r} returned a {type(result).__name__}; let it return a fedfr.Split")
    split = set_strangers_apart(replace(result, settings=recorded), faces, strangers).describe(faces)
    split.check(faces)
    return split


def _accept(value: Any) -> Callable[..., Split] | None:
    return value if parameters_of(value)[:1] == ("faces",) else None


SPLITS: Registry[Callable[..., Split]] = Registry(
    "split",
    (
        Entry("general", general, "any faces: identities are assigned to clients, public and generic by the settings"),
        Entry("quickstart", quickstart, "ORL: 16 public identities, 4 clients of 4, 8 generic"),
        Entry("lfw-fed", lfw_fed, "the benchmark on LFW: 10 clients of 15 identities, 1 000 public, 4 591 generic"),
        Entry(
            "ms1m-fedfr",
            ms1m_fedfr,
            "the paper's split of MS1M-ArcFace: 40 clients of 100 identities, 6 000 public, from disjoint halves",
            "FedFR, AAAI 2022, arXiv 2112.12496",
        ),
        Entry("partition", by_partition, "one client per partition from a file or a flwr-datasets partitioner"),
        Entry(
            "sets", by_set, "several face sets: one client per private set; the public and the generic set unchanged"
        ),
        Entry(
            "pins-fed", pins_fed, "two face sets: clients of 10 identities with 60 training images each; LFW is public"
        ),
        Entry("sites", sites, "named clients on other machines; all faces here are public or generic"),
    ),
    Extensions("fedfr.splits", "a function of faces and its settings that returns a fedfr.Split", _accept),
)
