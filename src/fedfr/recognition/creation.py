"""Creation of a gallery with its model, its detector and the strangers that it is calibrated with."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_folder_atomically
from fedfr.core.settings import validate
from fedfr.faces import FaceSet, open_detector
from fedfr.models import UserPreprocessing
from fedfr.recognition.calibration.provable_rates import needed_rank
from fedfr.recognition.calibration.strangers import leave_out
from fedfr.recognition.enrolment.enrolment import Progress
from fedfr.recognition.gallery.gallery import Gallery
from fedfr.recognition.gallery.gallery_settings import GallerySettings, read_gallery_settings
from fedfr.recognition.gallery.gallery_types import StrangerFeatures
from fedfr.recognition.people_features import People, people_features
from fedfr.recognition.photos.embedder import Embedder
from fedfr.recognition.photos.liveness import load_check
from fedfr.recognition.photos.same_image import SeenImages
from fedfr.recognition.serving import DETECTOR, MODELS, backbone_setting, open_embedder, seen_alike
from fedfr.recognition.trained_people import TrainedPeople, hash_people

__all__ = [
    "OtherPeople",
    "changed_settings",
    "create_gallery",
    "judging_embedder",
    "leave_out_strangers",
    "read_people",
    "store_people",
    "tell_assumed",
]


@dataclass(frozen=True)
class OtherPeople:
    """Features of strangers and of a cohort; None for those that are not given."""

    strangers: StrangerFeatures | None
    cohort: StrangerFeatures | None


def create_gallery(
    folder: Path,
    model: Path,
    strangers: People,
    *,
    cohort: People | None,
    trained_on: Sequence[FaceSet],
    detector: Path | None,
    detector_sha256: str | None,
    quality: str,
    fpir: float,
    crops: bool,
    liveness: str | None,
    passphrase: str | None,
    progress: Progress | None,
    user_preprocessing: UserPreprocessing,
) -> None:
    """Create the folder of a gallery as a whole, or nothing; arguments as for ``Recognizer.create``."""
    settings = validate(
        GallerySettings,
        {
            "fpir": fpir,
            "quality": quality,
            "crops": "keep" if crops else "none",
            "normalization": "none" if cohort is None else "as-norm",
            "detector": None if detector is None else DETECTOR,
            "detector_sha256": None if detector is None else open_detector(detector, detector_sha256).sha256,
            "liveness": liveness,
        },
        f"settings of {folder}",
    )
    load_check(liveness or "")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FedfrError(f"{folder} exists already and is not empty; name a new folder for the gallery")
    embedder = Embedder.open(
        model, detector, quality=quality, detector_sha256=detector_sha256, user_preprocessing=user_preprocessing
    )
    tell_assumed(embedder, user_preprocessing)
    trained = hash_people(trained_on)
    people = read_people(embedder, strangers, cohort, progress, fpir, trained)
    assert people.strangers is not None
    needed_rank(len(people.strangers.features), fpir)

    chosen = settings.model_copy(update={"backbone": backbone_setting(embedder)})

    def fill(made: Path) -> None:
        made.chmod(0o700)
        with Gallery.create(made, chosen, passphrase) as gallery:
            (made / MODELS).mkdir()
            file = embedder.save_model(made / MODELS)
            if detector is not None:
                shutil.copyfile(detector, made / DETECTOR)
            with gallery.change():
                gallery.switch(embedder.space, embedder.dim)
                gallery.seal_model(embedder.space, file)
                store_people(gallery, embedder.space, people, trained)

    write_folder_atomically(folder, fill)


def tell_assumed(embedder: Embedder, user_preprocessing: UserPreprocessing) -> None:
    """Warn of what is assumed of the preprocessing, if neither the model nor the user states it."""
    if embedder.model_notice and len(user_preprocessing.names) < 3:
        warnings.warn(embedder.model_notice, UserWarning, stacklevel=3)


def read_people(
    embedder: Embedder,
    strangers: People | None,
    cohort: People | None,
    progress: Progress | None,
    fpir: float,
    trained: TrainedPeople | None,
) -> OtherPeople:
    """Compute the features of strangers and of a cohort, where they are given.

    Raises :class:`FedfrError` if the strangers are too few for the rate ``fpir``, before anything is computed, and if
    one of them is among the people on whom the model was ``trained``.
    """
    # A stranger in the cohort would be normalized as no probe is, and score too low.
    seen, what = SeenImages(), "people of the cohort"
    return OtherPeople(
        None
        if strangers is None
        else people_features(strangers, embedder, progress=progress, fpir=fpir, seen=seen, trained=trained),
        None if cohort is None else people_features(cohort, embedder, what, progress, seen=seen),
    )


def store_people(gallery: Gallery, space: str, people: OtherPeople, trained: TrainedPeople | None = None) -> None:
    """Store the features in a space, and on whom its model was ``trained``, within a change of the gallery."""
    if people.strangers is not None:
        gallery.set_strangers(space, people.strangers.features, people.strangers.digest)
    if people.cohort is not None:
        gallery.set_strangers(space, people.cohort.features, people.cohort.digest, "cohort")
    if trained is not None:
        gallery.set_trained(space, trained)


def leave_out_strangers(gallery: Gallery, space: str, rows: Collection[int]) -> None:
    """Leave out some of the stored strangers for good, within a change of the gallery."""
    strangers = gallery.strangers(space) if rows else None
    if strangers is not None:
        kept = leave_out(strangers, rows)
        gallery.set_strangers(space, kept.features, kept.digest)


def changed_settings(gallery: Gallery, changes: Mapping[str, Any], *, confirm: bool) -> GallerySettings:
    """Return the settings of a gallery with some changed, without storing them.

    With ``confirm`` they are those of ``gallery.yaml``, which may have been changed by hand. Raises
    :class:`FedfrError` without it if that file has others than those in force, beside the changes.
    """
    current = read_gallery_settings(gallery.folder) if confirm else gallery.reload_settings()
    others = [sentence for name, sentence in gallery.unconfirmed.items() if name not in changes]
    if others and not confirm:
        raise FedfrError(
            f"{gallery.folder}: {'; '.join(others)}: confirm with `fedfr calibrate {gallery.folder} "
            "--confirm-settings`, or restore the file"
        )
    changed = validate(GallerySettings, {**current.model_dump(), **changes}, f"settings of {gallery.folder}")
    load_check(changed.liveness or "")
    return changed


def judging_embedder(gallery: Gallery, embedder: Embedder, settings: GallerySettings, *, strangers: bool) -> Embedder:
    """Return the embedder with which strangers are judged under other settings of a gallery.

    Raises :class:`FedfrError` if other settings judge or align images otherwise and no ``strangers`` are given:
    strangers have to be judged as probes are.
    """
    if seen_alike(gallery.settings, settings):
        return embedder
    if not strangers:
        raise FedfrError(
            f"{gallery.folder}: the strangers were judged by another quality gate or detector; give strangers again, "
            "with --strangers"
        )
    return open_embedder(gallery, embedder.space, settings)
