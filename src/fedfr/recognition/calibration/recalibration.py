"""Calibration of a gallery within the change that makes it necessary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.recognition.calibration.calibrate import calibrate
from fedfr.recognition.calibration.calibration_record import Calibration
from fedfr.recognition.calibration.genuine import GenuineProbes, leave_one_out
from fedfr.recognition.calibration.provable_rates import needed_rank
from fedfr.recognition.calibration.stranger_scores import template_digests
from fedfr.recognition.calibration.strangers import refuse_enrolled

if TYPE_CHECKING:
    from fedfr.recognition.gallery.gallery import Gallery
    from fedfr.recognition.gallery.gallery_settings import GallerySettings
    from fedfr.recognition.gallery.gallery_types import Features, Templates

__all__ = ["cohort_features", "matches", "recalibrate", "stored_calibration"]

_MOST_PEOPLE = 1000
"""Number of people whose images are used as genuine probes and looked for among the strangers; of more people every
n-th is taken."""


def recalibrate(gallery: Gallery, space: str, settings: GallerySettings | None = None) -> Calibration | None:
    """Calibrate the gallery as it is in the present change and store the result; None if nobody is enrolled.

    Called within ``gallery.change()``, so that templates and thresholds change together. ``settings`` are by default
    those of the gallery. Genuine probes are the held-out photos if there are any, and otherwise all photos, each
    compared with the template of the same person's other photos. Raises :class:`FedfrError` without strangers, if they
    are too few for the promised rate, and if an image of an enrolled person is among them.
    """
    chosen = settings or gallery.settings
    templates, strangers = gallery.templates(space), gallery.strangers(space)
    cohort = cohort_features(gallery, space, chosen)
    if strangers is None:
        raise FedfrError(
            f"{gallery.folder} has no strangers of this model; name some with `fedfr calibrate {gallery.folder} "
            "--strangers`"
        )
    needed_rank(len(strangers.features), chosen.fpir)
    if not templates.ids:
        gallery.set_calibration(space, None)
        return None
    photos = _photos(gallery, space, templates)
    for each in photos:
        refuse_enrolled(strangers.features, each.matrix)
    made = calibrate(
        templates.matrix,
        templates.ids,
        strangers.features,
        fpir=chosen.fpir,
        genuine=_genuine(photos, templates),
        cohort=cohort,
        space=space,
        previous=stored_calibration(gallery, space),
    )
    gallery.set_calibration(space, made.to_json())
    return made


def stored_calibration(gallery: Gallery, space: str) -> Calibration | None:
    """Return the stored calibration of a space, None if there is none that can be read."""
    content = gallery.calibration(space)
    if content is None:
        return None
    try:
        return Calibration.from_json(content)
    except FedfrError:
        # Of another version; it is replaced by the next one.
        return None


def cohort_features(gallery: Gallery, space: str, settings: GallerySettings) -> NDArray[np.float32] | None:
    """Return the cohort with which scores are normalized, None if they are not."""
    if settings.normalization == "none":
        return None
    cohort = gallery.strangers(space, "cohort")
    if cohort is None:
        raise FedfrError(
            f"{gallery.folder} normalizes scores and has no cohort of this model; name one with `fedfr calibrate "
            f"{gallery.folder} --cohort`"
        )
    return cohort.features


def matches(calibration: Calibration | None, templates: Templates, space: str, settings: GallerySettings) -> bool:
    """Return whether a calibration is that of these templates and settings."""
    return (
        calibration is not None
        and (calibration.space, calibration.persons) == (space, templates.ids)
        and (calibration.fpir, calibration.normalization) == (settings.fpir, settings.normalization)
        and calibration.templates == tuple(template_digests(templates.matrix))
    )


def _photos(gallery: Gallery, space: str, templates: Templates) -> list[Features]:
    if len(templates.ids) <= _MOST_PEOPLE:
        return [gallery.features(space)]
    step = -(-len(templates.ids) // _MOST_PEOPLE)
    return [gallery.features(space, person) for person in templates.ids[::step]]


def _genuine(some: Sequence[Features], templates: Templates) -> GenuineProbes | None:
    features = np.concatenate([each.matrix for each in some])
    held_out = np.concatenate([each.held_out for each in some])
    people = [person for each in some for person in each.ids]
    if not held_out.any():
        return leave_one_out(features, people)
    enrolled = set(templates.ids)
    rows = [row for row in np.flatnonzero(held_out).tolist() if people[row] in enrolled]
    return GenuineProbes(features[rows], tuple(people[row] for row in rows)) if rows else None
