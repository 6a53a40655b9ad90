"""Galleries with a site's models: created, enrolled from its faces, and rebuilt after new rounds."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import yaml

from fedfr.config.loading import read_settings_file
from fedfr.core.errors import FedfrError, WriteError
from fedfr.core.files import make_folder, write_atomically
from fedfr.core.locks import is_locked, locked
from fedfr.deployment.site import Site
from fedfr.deployment.site_config import SiteConfig
from fedfr.deployment.site_sets import check_disjoint, site_strangers
from fedfr.faces import FaceSet
from fedfr.federation.private_store import PrivateStore
from fedfr.models import BACKBONES, OpenedModel
from fedfr.models.model_parts import PERSONALIZED
from fedfr.recognition.enrolment.enrolment import Enrolment
from fedfr.recognition.gallery.encryption import SiteKey
from fedfr.recognition.gallery.gallery import Gallery
from fedfr.recognition.gallery.store import KEY_FILE
from fedfr.recognition.people_features import People, open_people
from fedfr.recognition.photos.embedder import Embedder
from fedfr.recognition.rebuild import Rebuild
from fedfr.recognition.recognizer import Recognizer
from fedfr.recognition.serving import MODELS

__all__ = [
    "GalleryState",
    "create_site_gallery",
    "enrol_site_people",
    "gallery_states",
    "newest_model",
    "newest_round",
    "rebuild_arguments",
    "rebuild_command",
    "rebuild_site_gallery",
    "register_gallery",
]

Progress = Callable[[int, int], None]


def create_site_gallery(
    site: Site, folder: Path, *, model: Path | None = None, strangers: People | None = None, **settings: Any
) -> Recognizer:
    """Create a gallery with the site's newest personalized model, calibrated with the federation's strangers.

    ``model``: another model in its place, needed if the method has no personalized ones. ``strangers``: other people
    whom nobody trains on; they are compared with the site's faces and the public ones. ``settings``: further arguments
    of :meth:`Recognizer.create`. Raises :class:`FedfrError` as this and
    :func:`~fedfr.deployment.site_sets.site_strangers` do, and if there is no model.
    """
    others, trained_on = _strangers(site, strangers), _trained_on(site, settings.pop("trained_on", ()))
    with _chosen_model(site, model) as path:
        return Recognizer.create(folder, model=path, strangers=others, trained_on=trained_on, **settings)


def enrol_site_people(site: Site, recognizer: Recognizer, progress: Progress | None = None) -> list[Enrolment]:
    """Enrol every identity of the site under its name, from its training images; return what was enrolled.

    People who are enrolled already are left as they are. Images that the site keeps for its own test are stored as
    held-out photos: they are in no template and show how often people are recognized. Models are trained on the others,
    which would make that share too good.
    """
    train, held_out = _own_faces(site)
    labels = {name: label for label, name in enumerate(held_out.identities)}
    found = []
    for label, name in enumerate(train.identities):
        if recognizer.gallery.find(name) is not None:
            continue
        kept = list(held_out.images(held_out.indices_of(labels[name]))) if name in labels else []
        images = list(train.images(train.indices_of(label)))
        found.append(recognizer.enrol(name, images, held_out=kept, aligned=True))
        if progress is not None:
            progress(label + 1, train.num_identities)
    return found


def rebuild_site_gallery(
    site: Site,
    recognizer: Recognizer,
    *,
    model: Path | None = None,
    strangers: People | None = None,
    progress: Progress | None = None,
    **others: Any,
) -> Rebuild:
    """Rebuild a gallery for the site's newest personalized model, or for ``model``.

    People without stored crops are enrolled from the site's faces of the same name, as by :func:`enrol_site_people`.
    """
    train, held_out = _own_faces(site)
    trained_on = _trained_on(site, others.pop("trained_on", ()))
    others = {"faces": train, "held_out": held_out, "trained_on": trained_on, **others}
    with _chosen_model(site, model) as path:
        return recognizer.rebuild(path, strangers=_strangers(site, strangers), progress=progress, **others)


def _strangers(site: Site, given: People | None) -> FaceSet | Path:
    if given is None:
        return site_strangers(site)
    others = open_people(given)
    if isinstance(others, FaceSet):
        check_disjoint(site.all_faces, others, "the strangers")
    return others


def _trained_on(site: Site, others: Sequence[FaceSet]) -> list[FaceSet]:
    """Return the faces of a federation's training that its site has: its own and the public ones."""
    place = site.config.public
    if not site.agreement.public or place is None:
        return [site.all_faces, *others]
    if not Path(place).exists():
        warnings.warn(
            f"the public faces are missing in {place}, so strangers are not compared with them; run `fedfr site fetch`",
            UserWarning,
            stacklevel=3,
        )
        return [site.all_faces, *others]
    return [site.all_faces, site.public_faces, *others]


def _own_faces(site: Site) -> tuple[FaceSet, FaceSet]:
    """Return the images that the site trains on, and those that it keeps for its own test."""
    faces, division = site.partitioned_faces
    return faces.subset(division.train), faces.subset(division.test)


@contextmanager
def _chosen_model(site: Site, model: Path | None) -> Iterator[Path]:
    if model is not None:
        yield model
        return
    _check_personalized(site)
    with newest_model(site) as (_, path):
        yield path


@contextmanager
def newest_model(site: Site) -> Iterator[tuple[int, Path]]:
    """Yield the site's newest round and a temporary file with its personalized model, in the folder of private states.

    Raises :class:`FedfrError` as :meth:`Site.personalized` does.
    """
    private = Path(site.config.private)
    if not private.exists():
        make_folder(private, 0o700)
    # Of killed processes.
    for leftover in private.glob(".model-*"):
        if not is_locked(leftover):
            shutil.rmtree(leftover, ignore_errors=True)
    try:
        folder = Path(mkdtemp(prefix=".model-", dir=private))
    except OSError as error:
        raise WriteError(f"cannot write in {private}: {error.strerror or error}; call it as the site's user") from error
    try:
        with locked(folder):
            path = folder / "personalized.safetensors"
            yield site.save_newest(path), path
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def newest_round(site: Site) -> int:
    """Return the newest round of which the site has a private state, 0 if there is none."""
    return max(PrivateStore(site.private, site.config.client).rounds(), default=0)


def rebuild_arguments(gallery: Path, site_folder: Path) -> list[str]:
    """Return the arguments of the command that rebuilds a gallery for the site's newest model."""
    return ["gallery", "rebuild", str(gallery), "--site", str(site_folder)]


def rebuild_command(gallery: Path, site_folder: Path) -> str:
    """Return the command line that rebuilds a gallery for the site's newest model."""
    return shlex.join(["fedfr", *rebuild_arguments(gallery, site_folder)])


@dataclass(frozen=True)
class GalleryState:
    """Gallery of a site: whether it has the model of the site's newest ``round``, or why that is unknown."""

    gallery: Path
    round: int
    current: bool
    problem: str = ""

    def describe(self, site_folder: Path) -> str:
        """Describe the state in one line, with the command that is due."""
        if self.problem:
            return self.problem
        if self.current:
            return f"has the model of round {self.round}"
        return f"has another model than that of round {self.round}; {rebuild_command(self.gallery, site_folder)}"


def gallery_states(site: Site) -> list[GalleryState]:
    """Compare the galleries named in ``site.yaml`` with the site's newest model; empty before the first round."""
    number, folders = newest_round(site), [Path(each) for each in site.config.galleries]
    if not folders or number == 0:
        return []
    try:
        space = _newest_space(site)
    except FedfrError as error:
        return [GalleryState(folder, number, current=False, problem=str(error)) for folder in folders]
    return [_state(folder, number, space) for folder in folders]


def _newest_space(site: Site) -> str:
    """Return the space of the site's newest personalized model, without writing a file."""
    _check_personalized(site)
    _, model = site.personalized()
    backbone = site.agreement.backbone
    return Embedder(OpenedModel(model, BACKBONES[backbone].preprocessing, PERSONALIZED, backbone=backbone)).space


def _check_personalized(site: Site) -> None:
    if site.method.personal_model is None:
        raise FedfrError(
            f"{site.agreement.method.name} gives {site.config.client} no personalized model; ask the coordinator for "
            "the generic model, and give its file with --model"
        )


def _state(folder: Path, number: int, space: str) -> GalleryState:
    try:
        return GalleryState(folder, number, current=_active_space(folder) == space)
    except FedfrError as error:
        return GalleryState(folder, number, current=False, problem=str(error))


def _active_space(folder: Path) -> str | None:
    """Return the space of a gallery's model; if a passphrase is needed, by the name of the only model file."""
    key = folder / KEY_FILE
    if not key.exists() or not SiteKey.has_passphrase(key):
        with Gallery.open(folder) as gallery:
            return gallery.active_space
    names = [file.stem for file in (folder / MODELS).glob("*") if file.suffix in (".safetensors", ".onnx")]
    return f"sha256:{names[0]}" if len(names) == 1 else None


def register_gallery(site_file: Path, gallery: Path) -> bool:
    """Add a gallery to the list ``galleries`` of ``site.yaml``; return False if it has to be added by hand.

    Only that line is changed, or added; a list over several lines is left as it is.
    """
    if str(gallery.resolve()) in SiteConfig.load(site_file).galleries:
        return True
    text = site_file.read_text(encoding="utf-8")
    entry = yaml.safe_dump(os.path.relpath(gallery.resolve(), site_file.resolve().parent), default_style='"', width=1e9)
    line = re.compile(r"^galleries:[ \t]*\[(.*)\][ \t]*$", re.MULTILINE)
    if line.search(text):
        changed = line.sub(
            lambda found: f"galleries: [{', '.join(filter(None, (found[1].strip(), entry.strip())))}]", text
        )
    elif "galleries" not in read_settings_file(site_file):
        changed = f"{text.rstrip()}\n\ngalleries: [{entry.strip()}]\n"
    else:
        return False
    write_atomically(site_file, changed.encode())
    return True
