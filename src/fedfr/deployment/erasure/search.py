"""What a site has of a person: sets, splits, lists, private states and galleries."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.erasure.journal import GalleryErasure, Remedy, StoreErasure
from fedfr.deployment.site_config import SiteConfig
from fedfr.faces import FaceSet, Split
from fedfr.faces.erasing import SET_FILES, SetErasure
from fedfr.faces.name_matching import normalized_name
from fedfr.faces.name_mentions import Mentions
from fedfr.faces.set_links import linked_sets
from fedfr.faces.storage import is_face_set
from fedfr.federation.private_store import PrivateStore
from fedfr.recognition.gallery.gallery import Gallery

__all__ = [
    "Passphrases",
    "Request",
    "find_in_gallery",
    "find_in_store",
    "find_lists",
    "find_splits",
    "galleries_of",
    "open_sets",
    "published_sets",
    "site_files",
    "stores_of",
]

Passphrases = Callable[[Path], str | None]
"""Returns the passphrase of a gallery, None if it needs none."""

# Bytes of a JSON file in which its format is named.
_HEAD = 200


@dataclass(frozen=True)
class Request:
    """Who is to be forgotten, and where to search besides the site's own folder.

    ``spelling``: ``exact`` for this spelling only, ``alike`` for everybody whose name looks the same, empty to refuse
    if a set has several. ``remedy``: None for that of the agreement. ``faces``, ``galleries``: further ones.
    """

    name: str
    spelling: str = ""
    remedy: Remedy | None = None
    faces: tuple[Path, ...] = ()
    galleries: tuple[Path, ...] = ()

    def matches(self, name: str) -> bool:
        """Whether a name is that of the person."""
        return name == self.name or (self.spelling != "exact" and normalized_name(name) == normalized_name(self.name))


def stores_of(config: SiteConfig) -> list[PrivateStore]:
    """Return the stores of private states of a site, one for each agreement."""
    private = Path(config.private)
    folders = [place for place in sorted(private.iterdir()) if place.is_dir()] if private.is_dir() else []
    return [PrivateStore(place, config.client) for place in folders if not place.name.startswith(".")]


def site_files(config: SiteConfig, folder: Path) -> Iterator[Path]:
    """Iterate over the files in a site's folder, without downloaded sets and galleries."""
    apart = {Path(place).resolve() for place in (config.public, config.strangers, *config.galleries) if place}
    for place, folders, files in os.walk(folder.resolve()):
        folders[:] = sorted(name for name in folders if Path(place, name) not in apart)
        yield from (Path(place, name) for name in sorted(files))


def open_sets(config: SiteConfig, folder: Path, further: Sequence[Path]) -> dict[Path, FaceSet]:
    """Open the site's set, all face sets in its folder, and ``further`` ones, with the parts of combined sets."""
    if not is_face_set(config.faces.path):
        raise FedfrError(
            f"there is no face set in {config.faces.path}; mount its disk, or correct `faces` in {folder / 'site.yaml'}"
        )
    for place in further:
        if not is_face_set(place):
            raise FedfrError(f"{place} is no face set; give folders written by `fedfr faces import` with --faces")
    inside = [file.parent for file in site_files(config, folder) if file.name == "faces.json"]
    waiting = [Path(config.faces.path).resolve(), *inside, *(place.resolve() for place in further)]
    opened: dict[Path, FaceSet] = {}
    while waiting:
        place = waiting.pop(0)
        if place.name.startswith(".") and place.name.endswith((".remaining", ".erased", ".tmp")):
            continue
        if place not in opened:
            opened[place] = FaceSet.load(place)
            waiting += [part for _, part in linked_sets(place)]
    return opened


def find_splits(config: SiteConfig, folder: Path) -> Iterator[str]:
    """Yield the manifest of the site, and every other split in its folder that can be read."""
    manifest = Path(config.faces.manifest).resolve() if config.faces.manifest else None
    if manifest is not None:
        Split.load(manifest)
        yield str(manifest)
    for path in site_files(config, folder):
        if path.suffix == ".json" and path != manifest and path.is_file() and _is_split(path):
            with suppress(FedfrError):
                Split.load(path)
                yield str(path)


def _is_split(path: Path) -> bool:
    with path.open("rb") as file:
        return b'"fedfr-split"' in file.read(_HEAD)


def find_lists(opened: dict[Path, FaceSet], mentions: Mentions, splits: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Yield the lists of the sets, and of skipped files beside them, with their numbers of entries about the person."""
    for place in opened:
        beside = [place.with_name(f"{place.name}.skipped.csv")]
        for path in [*(each for each in sorted(place.iterdir()) if each.name not in SET_FILES), *beside]:
            if not path.is_file() or str(path) in splits:
                continue
            found = mentions.without_entries(path)
            if found is not None and found[1]:
                yield str(path), found[1]


def find_in_store(store: PrivateStore, names: list[str], current: Agreement | None) -> StoreErasure:
    """Return what a store of private states has of the people of these names."""
    rows, name = store.rows_of(names), store.folder.name
    is_current = current is not None and current.fingerprint.startswith(name)
    return StoreErasure(
        str(store.folder),
        name,
        current.run if current is not None and is_current else "",
        rows.states,
        rows.identities,
        rows.first,
        max(store.rounds(), default=0),
        rows.unnamed,
    )


def galleries_of(config: SiteConfig, request: Request) -> dict[Path, None]:
    """Return the galleries of ``site.yaml`` and of the request."""
    return dict.fromkeys(place.resolve() for place in (*map(Path, config.galleries), *request.galleries))


def find_in_gallery(
    folder: Path, names: Iterable[str], request: Request, passphrases: Passphrases
) -> list[tuple[str, GalleryErasure]]:
    """Return under which names a gallery has the person, and what it has; an empty name if it does not."""
    try:
        with Gallery.open(folder, passphrases(folder)) as gallery, gallery.read():
            exports = sum(entry.kind == "export" for entry in gallery.journal.entries(None))
            people = {person.id: person for name in names if (person := gallery.find(name)) is not None}
            found = [person for person in people.values() if request.spelling != "exact" or person.name in names]
            if not found:
                return [("", GalleryErasure(str(folder), "", 0, 0, exports))]
            return [
                (
                    each.name,
                    GalleryErasure(str(folder), each.id, len(each.photos), len(gallery.crops(each.id)), exports),
                )
                for each in found
            ]
    except FedfrError as error:
        raise FedfrError(
            f"gallery {folder} cannot be searched: {error}; if there is no such gallery any more, remove it from "
            "`galleries` in site.yaml"
        ) from error


def published_sets(
    config: SiteConfig, request: Request, sets: Sequence[SetErasure], opened: dict[Path, FaceSet]
) -> Iterator[str]:
    """Yield the downloaded sets with the person: by name, or by an image."""
    for what, place in (("public faces", config.public), ("strangers", config.strangers)):
        if place is None or not is_face_set(place):
            continue
        faces = FaceSet.load(place)
        named = any(request.matches(name) for name in faces.identities)
        if named or any(
            opened[Path(each.folder)].digests().take(each.rows()).intersects(faces.digests()) for each in sets
        ):
            yield what
