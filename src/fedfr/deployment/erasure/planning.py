"""Plan of an erasure: what a site has of a person, found and checked before anything is changed."""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.erasure.journal import Erasure
from fedfr.deployment.erasure.search import (
    Passphrases,
    Request,
    find_in_gallery,
    find_in_store,
    find_lists,
    find_splits,
    galleries_of,
    open_sets,
    published_sets,
    stores_of,
)
from fedfr.deployment.site_config import SiteConfig
from fedfr.deployment.site_status_file import timestamp
from fedfr.faces import FaceSet
from fedfr.faces.erasing import SetErasure, check_replaceable, find_person
from fedfr.faces.face_sets import original_name
from fedfr.faces.name_matching import quoted_name
from fedfr.faces.name_mentions import Mentions

__all__ = ["plan_erasure"]

_SEVERAL = 5


def plan_erasure(config: SiteConfig, folder: Path, request: Request, passphrases: Passphrases) -> Erasure:
    """Find the person in the sets, lists, private states and galleries of a site; nothing is erased yet.

    ``folder``: the site's folder. Raises :class:`FedfrError` if nobody there has the name, if a set has several people
    whose names look the same, and if something cannot be read: then it could not be erased either.
    """
    try:
        return _plan(config, folder, request, passphrases)
    except OSError as error:
        raise FedfrError(
            f"cannot read {error.filename}: {error.strerror}; call the command as the user of the site"
        ) from error


def _plan(config: SiteConfig, folder: Path, request: Request, passphrases: Passphrases) -> Erasure:
    agreement = _agreement(config, required=request.remedy is None)
    opened = open_sets(config, folder, request.faces)
    _check_spelling(request, opened)
    sets = find_person(opened, request.matches)
    _check_other_names(request, sets)
    for each in sets:
        check_replaceable(Path(each.folder))
    names = dict.fromkeys([*_spellings(request), *_names_in(request, sets, opened)])
    enrolled = [
        found
        for place in galleries_of(config, request)
        for found in find_in_gallery(place, list(names), request, passphrases)
    ]
    names |= dict.fromkeys(name for name, _ in enrolled if name)
    mentions = Mentions(names, alike=request.spelling != "exact")
    splits = tuple(find_splits(config, folder))
    lists = dict(find_lists(opened, mentions, splits))
    stores = [find_in_store(store, list(names), agreement) for store in stores_of(config)]
    found = [store for store in stores if store.states or store.identities]
    galleries = tuple(gallery for _, gallery in enrolled)
    if not (sets or lists or any(store.identities for store in found) or any(name for name, _ in enrolled)):
        raise FedfrError(_nobody(request, opened, folder))
    return Erasure(
        pseudonym=f"person-{secrets.token_hex(6)}",
        requested=timestamp(),
        name=request.name,
        names=tuple(names),
        exact=request.spelling == "exact",
        sets=tuple(sets),
        folders=tuple(map(str, opened)),
        lists=lists,
        splits=splits,
        stores=tuple(found),
        galleries=galleries,
        published=tuple(published_sets(config, request, sets, opened)),
        remedy=request.remedy or ("note" if agreement is None else agreement.remedy),
    )


def _agreement(config: SiteConfig, *, required: bool) -> Agreement | None:
    try:
        return Agreement.load(Path(config.agreement), config.allow)
    except FedfrError as error:
        if required:
            raise FedfrError(
                f"the agreed remedy is unknown; give --remedy retrain or --remedy note ({error})"
            ) from error
        return None


def _check_spelling(request: Request, opened: dict[Path, FaceSet]) -> None:
    if request.spelling:
        return
    for place, faces in opened.items():
        same = [
            name
            for name in faces.identities
            if request.matches(name) or (faces.sets and request.matches(original_name(name)))
        ]
        if len(same) > 1:
            raise FedfrError(
                f"{len(same)} identities in {place} look like {request.name!r}: "
                f"{', '.join(map(quoted_name, same[:_SEVERAL]))}; give --alike to forget all of them as one person, or "
                "--exact to forget only the one that is spelled like this"
            )


def _spellings(request: Request) -> Iterator[str]:
    """Yield the name as given and in other usual spellings: private states can be asked for whole names only."""
    yield request.name
    if request.spelling != "exact":
        for plain in (request.name.replace("_", " "), request.name.replace(" ", "_")):
            yield from (unicodedata.normalize(form, plain) for form in ("NFC", "NFD"))


def _check_other_names(request: Request, sets: Sequence[SetErasure]) -> None:
    """Raise :class:`FedfrError` if all images of an identity with another name are images of the person."""
    if request.spelling:
        return
    for each in sets:
        others = [name for name in each.vanished if name not in each.identities]
        if others:
            raise FedfrError(
                f"all images of {quoted_name(others[0])} in {each.folder} are also images of {request.name!r}; give "
                "--alike to forget both names as one person, or --exact to erase these images, but no other trace of "
                "that name"
            )


def _names_in(request: Request, sets: Sequence[SetErasure], opened: dict[Path, FaceSet]) -> Iterator[str]:
    for each in sets:
        others = each.vanished if request.spelling == "alike" else ()
        for name in (*each.identities, *others):
            yield name
            if opened[Path(each.folder)].sets:
                yield original_name(name)


def _nobody(request: Request, opened: dict[Path, FaceSet], folder: Path) -> str:
    there = sum(len(faces.identities) for faces in opened.values())
    return (
        f"nobody called {request.name!r} is at this site: no face set ({there} identities), private state or gallery "
        f"has the name; check its spelling with `fedfr faces info`. Receipts of earlier erasures are in "
        f"{folder / 'receipts'}"
    )
