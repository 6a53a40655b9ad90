"""Model, templates and thresholds of a gallery as they are at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.named_objects import is_dotted
from fedfr.models import BACKBONES, UserPreprocessing
from fedfr.models.user_preprocessing import NO_USER_PREPROCESSING
from fedfr.recognition.calibration.recalibration import cohort_features, matches, stored_calibration
from fedfr.recognition.decisions import Enrolled
from fedfr.recognition.gallery.gallery import Gallery
from fedfr.recognition.gallery.gallery_settings import SETTINGS_FILE, GallerySettings
from fedfr.recognition.matcher import Matcher
from fedfr.recognition.photos.embedder import Embedder
from fedfr.recognition.photos.liveness import LivenessCheck, load_check

__all__ = [
    "DETECTOR",
    "MODELS",
    "Serving",
    "backbone_setting",
    "embedder_for",
    "load_serving",
    "open_embedder",
    "seen_alike",
]

MODELS, DETECTOR = "models", "detector.onnx"
"""Folder of the models and file of the detector in a gallery."""


@dataclass(frozen=True)
class Serving:
    """The model and the liveness check that are in use, and the enrolled people, at a version of the gallery."""

    version: tuple[int, ...]
    settings: GallerySettings
    embedder: Embedder
    check: LivenessCheck | None
    enrolled: Enrolled


def load_serving(gallery: Gallery, embedder: Embedder | None, before: Serving | None) -> Serving:
    """Return what serves now: ``before`` if nothing has changed since.

    Called within ``gallery.read()``, so that all parts are of one moment. ``embedder`` is used in place of the
    gallery's own model; if it is of another space, nothing can be decided.
    """
    version = _version(gallery)
    if before is not None and before.version == version:
        return before
    space, settings = gallery.active_space, gallery.reload_settings()
    if space is None:
        raise FedfrError(f"{gallery.folder} has no model; create the gallery again")
    if embedder is None and before is not None:
        same = before.embedder.space == space and seen_alike(before.settings, settings)
        embedder = before.embedder if same else None
    if embedder is None:
        embedder = open_embedder(gallery, space)
    templates = gallery.templates()
    calibration = stored_calibration(gallery, space)
    problem = ""
    if embedder.space != space:
        problem = "space-changed"
    elif gallery.unconfirmed:
        problem = "settings-changed"
    elif not templates.ids:
        problem = "needs-photo" if gallery.count() else "nobody-enrolled"
    elif not matches(calibration, templates, space, settings):
        problem = "not-calibrated"
    cohort = None if problem else cohort_features(gallery, space, settings)
    enrolled = Enrolled(
        embedder.space,
        templates.ids,
        lambda person: gallery.person(person).name,
        Matcher(templates.matrix, cohort),
        None if problem else calibration,
        problem,
    )
    return Serving(version, settings, embedder, load_check(settings.liveness or ""), enrolled)


def seen_alike(one: GallerySettings, other: GallerySettings) -> bool:
    """Return whether images are judged and aligned alike with both settings."""
    names = ("quality", "detector", "detector_sha256", "backbone")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _version(gallery: Gallery) -> tuple[int, ...]:
    """Return numbers that change with the gallery and its settings."""
    try:
        found = (gallery.folder / SETTINGS_FILE).stat()
    except OSError as error:
        raise FedfrError(f"cannot read {gallery.folder / SETTINGS_FILE}: {error.strerror}; restore the file") from error
    return gallery.revision, found.st_ino, found.st_mtime_ns, found.st_size


def open_embedder(gallery: Gallery, space: str, settings: GallerySettings | None = None) -> Embedder:
    """Open the gallery's own copy of the model of a space, with its detector.

    ``settings`` are by default those of the gallery.
    """
    names = [f"{space.removeprefix('sha256:')}{suffix}" for suffix in (".safetensors", ".onnx")]
    files = [file for name in names if (file := gallery.folder / MODELS / name).is_file()]
    if not files:
        raise FedfrError(
            f"{gallery.folder / MODELS} has no model {names[0]}; restore it from a copy, or rebuild the gallery"
        )
    embedder = embedder_for(gallery, files[0], settings)
    # The id of a space has 64 bits, for which another network could be sought.
    if embedder.space == space and not gallery.is_sealed_model(space, files[0]):
        raise FedfrError(f"{files[0]} is not the file that the gallery was made with; restore it from a copy")
    return embedder


def backbone_setting(embedder: Embedder) -> str | None:
    """Return the name of a model's backbone if it has to be imported from another package."""
    return embedder.backbone if is_dotted(embedder.backbone) else None


def embedder_for(
    gallery: Gallery,
    model: Path,
    settings: GallerySettings | None = None,
    user_preprocessing: UserPreprocessing = NO_USER_PREPROCESSING,
) -> Embedder:
    """Open a model with the detector and the quality gate of a gallery, or of other settings of it.

    ``user_preprocessing`` is for a model without a contract.
    """
    chosen = settings or gallery.settings
    detector = None if chosen.detector is None else gallery.folder / chosen.detector
    if chosen.backbone is not None:
        _ = BACKBONES[chosen.backbone]
    return Embedder.open(
        model,
        detector,
        quality=chosen.quality,
        detector_sha256=chosen.detector_sha256,
        user_preprocessing=user_preprocessing,
    )
