"""Option ``--site`` of ``fedfr gallery``: galleries with the model of a federation's site."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedfr.cli.deployment_options import needs_flower
from fedfr.cli.gallery_options import steps
from fedfr.cli.interruption import interruptible
from fedfr.cli.output import progress
from fedfr.core.errors import FedfrError

if TYPE_CHECKING:
    from fedfr.deployment.site import Site
    from fedfr.recognition.enrolment.enrolment import Enrolment
    from fedfr.recognition.rebuild import Rebuild
    from fedfr.recognition.recognizer import Recognizer

__all__ = ["EnrolSitePeople", "GallerySite", "SiteFolder", "check_enrol", "open_site"]

EnrolSitePeople = Annotated[
    bool,
    typer.Option(
        "--enrol-site-people", help="With --site: enrol the people on whom the site trains, unless they are enrolled."
    ),
]
SiteFolder = Annotated[
    Path | None,
    typer.Option(
        "--site",
        metavar="FOLDER",
        help="A federation's site: its newest personalized model and, by default, the federation's strangers.",
    ),
]


def open_site(folder: Path, run: Path | None, method: str | None, client: str | None) -> GallerySite:
    """Open the site of a gallery; raises :class:`FedfrError` if an option that chooses another model is given."""
    needs_flower()
    from fedfr.deployment.site import Site
    from fedfr.models import BACKBONES

    for option, value in (("--run", run), ("--method", method), ("--client", client)):
        if value is not None:
            raise FedfrError(f"{option} and --site choose different models; give one of them")
    site = Site.open(folder / "site.yaml")
    # Of another package, it is imported here, as site.yaml allows; a model file alone does not cause that.
    BACKBONES[site.agreement.backbone]
    return GallerySite(folder, site)


def check_enrol(site: GallerySite | None, *, wanted: bool) -> None:
    """Raise :class:`FedfrError` if the people of a site are wanted and no site is given."""
    if wanted and site is None:
        raise FedfrError("--enrol-site-people enrols the people of a site; name its folder with --site")


@dataclass(frozen=True)
class GallerySite:
    """A site in ``folder`` and its galleries."""

    folder: Path
    site: Site

    def create(
        self, gallery: Path, model: Path | None, strangers: Path | None, settings: Mapping[str, Any]
    ) -> Recognizer:
        """Create a gallery with the site's newest model, or ``model``."""
        from fedfr.deployment.site_gallery import create_site_gallery

        return create_site_gallery(self.site, gallery, model=model, strangers=strangers, **settings)

    def enrol(self, recognizer: Recognizer, gallery: Path) -> list[Enrolment]:
        """Enrol the people of the site who are not enrolled yet."""
        from fedfr.deployment.site_gallery import enrol_site_people, rebuild_arguments

        again = shlex.join(["fedfr", *rebuild_arguments(gallery, self.folder), "--enrol-site-people"])
        with interruptible(f"interrupted; continue with {again}"), progress() as reporter:
            return enrol_site_people(self.site, recognizer, steps(reporter, "enrolling"))

    def register(self, gallery: Path) -> str:
        """Add the gallery to ``site.yaml``; return a line that says so, or what to add by hand."""
        from fedfr.deployment.site_gallery import register_gallery

        file = self.folder / "site.yaml"
        if register_gallery(file, gallery):
            return f"{file} names the gallery: after a finished run, `fedfr site run` says how to rebuild it"
        return f"add {gallery.resolve()} to `galleries` in {file}, so that `fedfr site run` says when to rebuild it"

    def rebuild(self, recognizer: Recognizer, model: Path | None, given: Mapping[str, Any]) -> Rebuild:
        """Rebuild a gallery for the site's newest model, or ``model``."""
        from fedfr.deployment.site_gallery import rebuild_site_gallery

        return rebuild_site_gallery(self.site, recognizer, model=model, **given)
