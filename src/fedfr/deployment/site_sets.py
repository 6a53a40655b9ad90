"""Face sets that the coordinator publishes for a site: the public faces, and the strangers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.deployment.public_set import Progress, fetch
from fedfr.deployment.site import Site
from fedfr.deployment.site_folder import ROOT
from fedfr.faces import FaceSet
from fedfr.faces.face_sets import original_name
from fedfr.faces.name_matching import matching_names, quoted_name

__all__ = ["FetchedSet", "check_disjoint", "fetch_sets", "site_strangers"]


@dataclass(frozen=True)
class FetchedSet:
    """A set that the agreement names: what it is, its folder, and its faces; the strangers may have no folder."""

    what: str
    folder: Path | None
    faces: FaceSet | None


def fetch_sets(site: Site, folder: Path, progress: Progress | None = None) -> Iterator[FetchedSet]:
    """Download the sets named in the agreement to the folders named in ``site.yaml``; yield each when it is complete.

    ``folder``: the site's folder. Strangers without a folder in ``site.yaml`` are yielded without faces. Raises
    :class:`FedfrError` as :func:`~fedfr.deployment.public_set.fetch` does, and for public faces without a folder.
    """
    agreed = (
        ("public faces", site.agreement.public, site.config.public),
        ("strangers", site.agreement.strangers, site.config.strangers),
    )
    for what, fingerprint, place in agreed:
        if not fingerprint:
            continue
        if what == "strangers" and place is None:
            yield FetchedSet(what, None, None)
            continue
        if place is None or site.config.server is None:
            raise FedfrError(f"{folder / 'site.yaml'} has no folder for {what}, or no server; set both")
        faces = fetch(site.config.server, folder / ROOT, fingerprint, Path(place), progress)
        yield FetchedSet(what, Path(place), faces)


def site_strangers(site: Site) -> FaceSet:
    """Return the strangers with which the site calibrates its galleries.

    Raises :class:`FedfrError` if the agreement has none, if they are not downloaded or differ from the agreement, and
    if one of them is enrolled at this site or is among the public faces, on which models are trained.
    """
    if not site.agreement.strangers:
        raise FedfrError(
            f"the agreement {site.config.agreement} has no strangers; give faces of people whom nobody trains on, or "
            "ask the coordinator for a run with the split setting stranger_identities"
        )
    place = site.config.strangers
    if place is None:
        raise FedfrError(
            "site.yaml names no folder for the strangers; add `strangers: strangers` to it, then run `fedfr site fetch`"
        )
    if not Path(place).exists():
        raise FedfrError("the strangers are missing; run `fedfr site fetch` to download them from the coordinator")
    faces = FaceSet.load(place)
    if faces.fingerprint() != site.agreement.strangers:
        raise FedfrError(f"the strangers in {place} differ from the agreement; remove them, then fetch again")
    check_disjoint(site.all_faces, faces, "the strangers")
    has_public = site.agreement.public and site.config.public and Path(site.config.public).exists()
    if has_public and faces.digests().intersects(site.public_faces.digests()):
        raise FedfrError("a public face is among the strangers, whom nobody may train on; tell the coordinator")
    return faces


def check_disjoint(own: FaceSet, others: FaceSet, what: str) -> None:
    """Raise :class:`FedfrError` if a site's own faces share an identity name or an image with ``others``.

    Names that differ only in similar-looking letters count as the same. ``what`` describes the others in the error.
    """
    names = matching_names(
        *([original_name(name) if each.sets else name for name in each.identities] for each in (own, others))
    )
    if names:
        here, there = names[0]
        example = here if here == there else f"{quoted_name(here)}, there {quoted_name(there)}, which looks the same"
        raise FedfrError(
            f"{len(names)} identities of this site have the same name as some of {what}, for example {example}; remove "
            "them here, or rename them if they are other people"
        )
    if own.digests().intersects(others.digests()):
        raise FedfrError(f"an image of this site is among {what}; remove that identity here")
