"""Several face sets as one: images stay where they lie, labels are renumbered, names begin with the name of the set."""

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
from fedfr.faces.set_overlap import LOOK, NAME, Overlap, list_overlaps, shared_identity_names, shared_images

__all__ = [
    "OVERLAPS",
    "ROLES",
    "NamedSet",
    "combine",
    "in_whole",
    "own_name",
    "own_names",
    "read_identities",
]

ROLES = ("public", "private", "generic")
"""What a face set is for, in the order in which sets are joined."""

OVERLAPS = ("refuse", "drop", "distinct", "keep")
"""What to do about a person who is in more than one set, see :func:`combine`."""

LOG = logging.getLogger(__name__)

FindPeople = Callable[[FaceSet], Iterable[tuple[int, int]]]
"""Pairs of labels of a whole that are one person."""


@dataclass(frozen=True)
class NamedSet:
    """A face set with its name, its role (one of :data:`ROLES`), and identities that are not to be used."""

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
    """Join face sets, the public one first, then private ones, then the generic one; no pixel is copied.

    Identity and image names get the set's name and a slash in front. With ``dest`` the whole is saved there as links
    to the sets, which must be saved ones, and opened; else it is in memory.

    A person must be in one set only. Identities of two sets whose names look the same, or that have the very same
    image, or that ``same_people`` finds in the whole, are one person: ``overlap`` = ``refuse`` raises
    :class:`FedfrError`, ``drop`` leaves the identity out of the later set, ``distinct`` disregards names, not images,
    and ``keep`` looks for nobody, as for an audit that is to find them.
    Raises :class:`FedfrError` as well for sets that are empty, are themselves several, or share a name.
    """
    if overlap not in OVERLAPS:
        raise FedfrError(f"overlap of face sets = {overlap!r}; give one of {', '.join(OVERLAPS)}")
    ordered = sorted(sets, key=lambda each: ROLES.index(each.role))
    _check(ordered)
    left = [dict(each.left_out) for each in ordered]
    kept = [_kept(each, gone) for each, gone in zip(ordered, left, strict=True)]
    if overlap != "keep":
        _check_distinct(ordered)
    found = [] if overlap == "keep" else shared_images([each.faces for each in ordered], kept)
    if overlap not in ("distinct", "keep"):
        names = [each.faces.identities_of(rows) for each, rows in zip(ordered, kept, strict=True)]
        found += shared_identity_names(names)
    if same_people is not None:
        found += _found_people(ordered, _joined(ordered, left, kept), same_people)
    if found and overlap != "drop":
        instead = ", or to distinct if these are different people" if {each.reason for each in found} == {NAME} else ""
        raise FedfrError(
            f"{list_overlaps([each.name for each in ordered], found)}; name them in the exclude file of a "
            f"set, or set overlap to drop to leave them out of the later set{instead}"
        )
    for each in found:
        first = ordered[each.first].name
        left[each.second].setdefault(each.other, f"{each.reason} {first}/{each.identity}")
    if found:
        kept = [_kept(each, gone) for each, gone in zip(ordered, left, strict=True)]
    joined = _joined(ordered, left, kept)
    return joined if dest is None else save_links(joined, [each.faces for each in ordered], Path(dest).resolve())


def in_whole(faces: FaceSet, name: str, images: Sequence[int] | NDArray[Any]) -> NDArray[np.int64]:
    """The indices in a whole of images that are given by their indices in the set called ``name``.

    Raises :class:`FedfrError` for a set that is not in the whole, and for an image that the whole does not have.
    """
    names = [part.name for part in faces.sets]
    if name not in names:
        raise FedfrError(f"there is no face set {name!r} in these faces; they have {', '.join(names) or 'one set'}")
    which, own = faces.located(np.arange(len(faces)))
    here = np.flatnonzero(which == names.index(name))
    order = here[np.argsort(own[here], kind="stable")]
    wanted, there = np.asarray(images, np.int64), own[order]
    place = np.minimum(np.searchsorted(there, wanted), max(len(there) - 1, 0))
    if wanted.size and (not len(there) or not np.array_equal(there[place], wanted)):
        raise FedfrError(f"face set {name!r} has images that were asked for and are not in these faces; check them")
    return order[place].astype(np.int64) if wanted.size else np.empty(0, np.int64)


def own_name(identity: str) -> str:
    """Return the name that a set gives an identity which a whole calls ``set/name``; a bare name stays."""
    return identity.partition("/")[2] or identity


def own_names(faces: FaceSet, role: str | None = None) -> FaceSet:
    """Faces whose identities and images have the names that their set gives them, in memory alone.

    With a ``role`` only those of sets with that role are renamed; without one all, where all are of one set, and none
    else: two sets may use one name.
    """
    prefixes = {identity.partition("/")[0] for identity in faces.identities}
    if role is not None:
        prefixes = {part.name for part in faces.sets if part.role == role}
    if not faces.sets or (role is None and len(prefixes) != 1):
        return faces
    bare = [identity.partition("/")[0] in prefixes for identity in faces.identities]
    labels = faces.labels.tolist()
    return faces.renamed(
        [own_name(identity) if own else identity for identity, own in zip(faces.identities, bare, strict=True)],
        [own_name(name) if bare[label] else name for name, label in zip(faces.names, labels, strict=True)],
    )


def read_identities(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of identities from a text file: the first column (tab-separated) of each line without a leading ``#``."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise FedfrError(f"{path} does not exist; give a text file with an identity's name in each line") from error
    except OSError as error:
        raise FedfrError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    except UnicodeDecodeError as error:
        raise FedfrError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    names = [line.partition("\t")[0].strip() for line in lines if not line.startswith("#")]
    found = tuple(dict.fromkeys(name for name in names if name))
    if not found:
        raise FedfrError(f"{path} names no identity; give a text file with an identity's name in each line")
    return found


def _check(sets: Sequence[NamedSet]) -> None:
    names: set[str] = set()
    for each in sets:
        if each.name in ROLES and each.name != each.role:
            raise FedfrError(
                f"the {each.role} face set cannot be called {each.name!r}, the word for another role; give another name"
            )
        if each.name not in ROLES and not is_client_id(each.name):
            raise FedfrError(
                f"a face set cannot be called {each.name!r}; give letters, digits and the signs . _ -, the first a "
                "letter or digit, and no name of fedfr's own"
            )
        if each.name.casefold() in names:
            raise FedfrError(f"two face sets are called {each.name!r}; give each a name of its own")
        names.add(each.name.casefold())
        if each.role != "private" and sum(other.role == each.role for other in sets) > 1:
            raise FedfrError(f"two face sets are {each.role}; give one, several private ones are allowed")
        if each.faces.sets:
            parts = ", ".join(part.name for part in each.faces.sets)
            raise FedfrError(f"face set {each.name!r} is put together from several ({parts}); give these themselves")
        if not len(each.faces):
            raise FedfrError(f"face set {each.name!r} has no images; import it again or leave it out")
        strange = [name for name in each.left_out if name not in set(each.faces.identities)]
        if strange and len(strange) == len(each.left_out):
            raise FedfrError(
                f"the exclude file of face set {each.name!r} names no identity of it, but {quoted_name(strange[0])}; "
                "give names as the set has them"
            )
        if strange:
            LOG.warning(
                "%d of the %d identities in the exclude file of face set %r are not in that set",
                len(strange),
                len(each.left_out),
                each.name,
            )
    if not sets:
        raise FedfrError("no face set is given; give a public or a private one")


def _check_distinct(sets: Sequence[NamedSet]) -> None:
    """Refuse the same faces as two sets; parts of one set, by their exclude files, are allowed."""
    known: dict[tuple[str, frozenset[str]], NamedSet] = {}
    for each in sets:
        other = known.setdefault((each.faces.fingerprint(), frozenset(each.left_out)), each)
        if other is not each:
            raise FedfrError(
                f"face sets {other.name!r} and {each.name!r} hold the same faces; give each its own path, or "
                "exclude files that divide them"
            )


def _kept(each: NamedSet, left: Mapping[str, str]) -> NDArray[np.int64]:
    """The set's images without those of identities that are left out."""
    out = np.array([identity in left for identity in each.faces.identities], np.bool_)
    kept = np.flatnonzero(~out[each.faces.labels]).astype(np.int64)
    if not len(kept):
        raise FedfrError(f"face set {each.name!r} is left with no identity; {len(left)} are left out")
    return kept


def _joined(sets: Sequence[NamedSet], left: Sequence[Mapping[str, str]], kept: Sequence[NDArray[np.int64]]) -> FaceSet:
    """The whole in memory: labels, names and digests; pixels stay in the sets."""
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
            {name: gone[name] for name in each.faces.identities if name in gone},
        )
        for each, part, start, gone in zip(sets, parts, starts, left, strict=False)
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
    """Names of images of several sets, each with the name of its set in front."""

    def __init__(
        self, sets: Sequence[str], names: Sequence[Sequence[str]], rows: NDArray[np.int64] | None = None
    ) -> None:
        self._sets, self._names = sets, names
        self._ends = np.cumsum([len(each) for each in names])
        self._rows = np.arange(self._ends[-1]) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, rows: NDArray[np.int64]) -> _Names:
        """As :meth:`Column.take`."""
        return _Names(self._sets, self._names, self._rows[rows])

    def _at(self, row: int) -> str:
        place = int(self._rows[row])
        number = int(np.searchsorted(self._ends, place, side="right"))
        inside = place - (int(self._ends[number - 1]) if number else 0)
        return f"{self._sets[number]}/{self._names[number][inside]}"


def _found_people(sets: Sequence[NamedSet], whole: FaceSet, same_people: FindPeople) -> list[Overlap]:
    """Pairs of identities of two sets that are one person by ``same_people``, the earlier set first."""
    names, found = [each.name for each in sets], []
    for pair in same_people(whole):
        (one, _, identity), (other, _, same) = (whole.identities[label].partition("/") for label in sorted(pair))
        if one != other:
            found.append(Overlap(names.index(one), identity, names.index(other), same, LOOK))
    return found
