"""Combination of several face sets to one, without copies of images."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.client_ids import is_client_id
from fedfr.core.errors import FedfrError
from fedfr.faces.array_columns import Column, Digests
from fedfr.faces.faceset import FaceSet
from fedfr.faces.joined_pixels import JoinedPixels, SetPart
from fedfr.faces.name_matching import quoted_name
from fedfr.faces.set_links import save_links
from fedfr.faces.set_overlap import (
    NAME,
    SIMILAR,
    IdentityOverlap,
    describe_overlaps,
    shared_identity_names,
    shared_images,
)

__all__ = [
    "OVERLAPS",
    "ROLES",
    "NamedSet",
    "combine",
    "combined_indices",
    "original_name",
    "with_original_names",
]

ROLES = ("public", "private", "generic")
"""Roles of a face set, in the order in which sets are joined."""

OVERLAPS = ("refuse", "drop", "distinct", "keep")
"""Rules for a person in more than one set, see :func:`combine`."""

LOG = logging.getLogger(__name__)

FindPeople = Callable[[FaceSet], Iterable[tuple[int, int]]]
"""Returns pairs of labels of the combined set that are one person."""


@dataclass(frozen=True)
class NamedSet:
    """A face set with its name, its role (one of :data:`ROLES`), and identities to omit, with the reasons."""

    name: str
    role: str
    faces: FaceSet
    left_out: Mapping[str, str] = field(default_factory=dict)


def combine(
    sets: Sequence[NamedSet],
    dest: str | os.PathLike[str] | None = None,
    *,
    overlap: str = "refuse",
    same_people: FindPeople | None = None,
) -> FaceSet:
    """Join face sets, the public one first, then private ones, then the generic one, without copying pixels.

    Names of identities and images are prefixed by the name of their set and a slash. With ``dest`` the combined set is
    stored there as links to the sets, which must be stored ones; otherwise it is in memory.

    Identities of two sets are one person if their names look the same, if they share an image, or if ``same_people``
    returns them. ``overlap`` is the rule for such people: ``refuse`` raises :class:`FedfrError`; ``drop`` omits the
    identity from the later set; ``distinct`` ignores names, but not images; ``keep`` does not search, for an audit
    that reports them. Also raises :class:`FedfrError` for sets that are empty, are themselves combined, hold the same
    faces, or share a name.
    """
    if overlap not in OVERLAPS:
        raise FedfrError(f"overlap of face sets = {overlap!r}; give one of {', '.join(OVERLAPS)}")
    ordered = sorted(sets, key=lambda each: ROLES.index(each.role))
    _check(ordered)
    left = [dict(each.left_out) for each in ordered]
    kept = [_kept(each, omitted) for each, omitted in zip(ordered, left, strict=True)]
    if overlap != "keep":
        _check_distinct(ordered)
    overlaps = [] if overlap == "keep" else shared_images([each.faces for each in ordered], kept)
    if overlap not in ("distinct", "keep"):
        names = [each.faces.identities_of(rows) for each, rows in zip(ordered, kept, strict=True)]
        overlaps += shared_identity_names(names)
    if same_people is not None:
        overlaps += _found_people(ordered, _joined(ordered, left, kept), same_people)
    if overlaps and overlap != "drop":
        instead = (
            ", or to distinct if these are different people" if {each.reason for each in overlaps} == {NAME} else ""
        )
        raise FedfrError(
            f"{describe_overlaps([each.name for each in ordered], overlaps)}; name them in the exclude file of a "
            f"set, or set overlap to drop to omit them from the later set{instead}"
        )
    for each in overlaps:
        first = ordered[each.first].name
        left[each.second].setdefault(each.other, f"{each.reason} {first}/{each.identity}")
    if overlaps:
        kept = [_kept(each, omitted) for each, omitted in zip(ordered, left, strict=True)]
    joined = _joined(ordered, left, kept)
    return joined if dest is None else save_links(joined, [each.faces for each in ordered], Path(dest).resolve())


def combined_indices(faces: FaceSet, name: str, images: Sequence[int] | NDArray[Any]) -> NDArray[np.int64]:
    """Convert indices of images in the set called ``name`` to indices in the combined set ``faces``.

    Raises :class:`FedfrError` for an unknown set, and for an image that is not in the combined set.
    """
    names = [part.name for part in faces.sets]
    if name not in names:
        raise FedfrError(f"these faces have no face set {name!r}; they have {', '.join(names) or 'one set'}")
    which, own = faces.locate(np.arange(len(faces)))
    here = np.flatnonzero(which == names.index(name))
    order = here[np.argsort(own[here], kind="stable")]
    wanted, there = np.asarray(images, np.int64), own[order]
    place = np.minimum(np.searchsorted(there, wanted), max(len(there) - 1, 0))
    if wanted.size and (not len(there) or not np.array_equal(there[place], wanted)):
        raise FedfrError(f"some of the given images of face set {name!r} are not in these faces; check their indices")
    return order[place].astype(np.int64) if wanted.size else np.empty(0, np.int64)


def original_name(identity: str) -> str:
    """Return the name of an identity without the prefix of its set, if it has one."""
    return identity.partition("/")[2] or identity


def with_original_names(faces: FaceSet, role: str | None = None) -> FaceSet:
    """Return faces in memory with the names of identities and images that they have in their set.

    With a ``role`` only those of sets with that role are renamed. Without one all are renamed if all are of one set,
    otherwise none, because two sets may use the same name.
    """
    prefixes = {identity.partition("/")[0] for identity in faces.identities}
    if role is not None:
        prefixes = {part.name for part in faces.sets if part.role == role}
    if not faces.sets or (role is None and len(prefixes) != 1):
        return faces
    bare = [identity.partition("/")[0] in prefixes for identity in faces.identities]
    labels = faces.labels.tolist()
    return faces.renamed(
        [original_name(identity) if own else identity for identity, own in zip(faces.identities, bare, strict=True)],
        [original_name(name) if bare[label] else name for name, label in zip(faces.names, labels, strict=True)],
    )


def _check(sets: Sequence[NamedSet]) -> None:
    names: set[str] = set()
    for each in sets:
        if each.name in ROLES and each.name != each.role:
            raise FedfrError(
                f"the {each.role} face set cannot be called {each.name!r}, the name of another role; give another name"
            )
        if each.name not in ROLES and not is_client_id(each.name):
            raise FedfrError(
                f"{each.name!r} is not a valid name for a face set; use letters, digits and the characters . _ -, "
                "beginning with a letter or digit, and no reserved name"
            )
        if each.name.casefold() in names:
            raise FedfrError(f"two face sets are called {each.name!r}; give them different names")
        names.add(each.name.casefold())
        if each.role != "private" and sum(other.role == each.role for other in sets) > 1:
            raise FedfrError(f"two face sets are {each.role}; give one (only private sets may be several)")
        if each.faces.sets:
            parts = ", ".join(part.name for part in each.faces.sets)
            raise FedfrError(f"face set {each.name!r} is combined from several ({parts}); give these sets instead")
        if not len(each.faces):
            raise FedfrError(f"face set {each.name!r} has no images; import it again or leave it out")
        unknown = [name for name in each.left_out if name not in set(each.faces.identities)]
        if unknown and len(unknown) == len(each.left_out):
            raise FedfrError(
                f"the exclude file of face set {each.name!r} names no identity of it, but {quoted_name(unknown[0])}; "
                "give names of identities in the set"
            )
        if unknown:
            LOG.warning(
                "%d of the %d identities in the exclude file of face set %r are not in that set",
                len(unknown),
                len(each.left_out),
                each.name,
            )
    if not sets:
        raise FedfrError("no face set is given; give a public or a private one")


def _check_distinct(sets: Sequence[NamedSet]) -> None:
    """Raise :class:`FedfrError` for equal sets; parts of one set, by their exclude files, are allowed."""
    known: dict[tuple[str, frozenset[str]], NamedSet] = {}
    for each in sets:
        other = known.setdefault((each.faces.fingerprint(), frozenset(each.left_out)), each)
        if other is not each:
            raise FedfrError(
                f"face sets {other.name!r} and {each.name!r} hold the same faces; give each its own path, or "
                "exclude files that divide them"
            )


def _kept(each: NamedSet, left: Mapping[str, str]) -> NDArray[np.int64]:
    """Return the images of a set without those of omitted identities."""
    omitted = np.array([identity in left for identity in each.faces.identities], np.bool_)
    kept = np.flatnonzero(~omitted[each.faces.labels]).astype(np.int64)
    if not len(kept):
        raise FedfrError(f"face set {each.name!r} has no identities left; {len(left)} are left out")
    return kept


def _joined(sets: Sequence[NamedSet], left: Sequence[Mapping[str, str]], kept: Sequence[NDArray[np.int64]]) -> FaceSet:
    """Return the combined set in memory; pixels remain in the sets."""
    parts = [
        each.faces if len(rows) == len(each.faces) else each.faces.subset(rows)
        for each, rows in zip(sets, kept, strict=True)
    ]
    starts = np.cumsum([0, *map(len, parts)]).tolist()
    offsets = np.cumsum([0, *(part.num_identities for part in parts)]).tolist()
    described = [
        SetPart(
            each.name,
            each.role,
            each.faces.fingerprint(),
            start,
            len(part),
            part.num_identities,
            {name: omitted[name] for name in each.faces.identities if name in omitted},
        )
        for each, part, start, omitted in zip(sets, parts, starts, left, strict=False)
    ]
    own = [None if len(rows) == len(each.faces) else rows for each, rows in zip(sets, kept, strict=True)]
    return FaceSet(
        JoinedPixels(described, [each.faces for each in sets], own),
        np.concatenate([part.labels + offset for part, offset in zip(parts, offsets, strict=False)]),
        [f"{each.name}/{name}" for each, part in zip(sets, parts, strict=True) for name in part.identities],
        _Names([each.name for each in sets], [part.names for part in parts]),
        digests=Digests(np.concatenate([part.digests().rows for part in parts])),
    )


class _Names(Column[str]):
    """Names of the images of several sets, each prefixed by the name of its set."""

    def __init__(
        self, sets: Sequence[str], names: Sequence[Sequence[str]], rows: NDArray[np.int64] | None = None
    ) -> None:
        self._sets, self._names = sets, names
        self._ends = np.cumsum([len(each) for each in names])
        self._rows = np.arange(self._ends[-1]) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, rows: NDArray[np.int64]) -> _Names:
        """See :meth:`Column.take`."""
        return _Names(self._sets, self._names, self._rows[rows])

    def _at(self, row: int) -> str:
        place = int(self._rows[row])
        number = int(np.searchsorted(self._ends, place, side="right"))
        inside = place - (int(self._ends[number - 1]) if number else 0)
        return f"{self._sets[number]}/{self._names[number][inside]}"


def _found_people(sets: Sequence[NamedSet], whole: FaceSet, same_people: FindPeople) -> list[IdentityOverlap]:
    """Return the pairs of identities of two sets that ``same_people`` finds, the earlier set first."""
    names, found = [each.name for each in sets], []
    for pair in same_people(whole):
        (one, _, identity), (other, _, same) = (whole.identities[label].partition("/") for label in sorted(pair))
        if one != other:
            found.append(IdentityOverlap(names.index(one), identity, names.index(other), same, SIMILAR))
    return found
