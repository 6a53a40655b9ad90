"""The change of a gallery by which photos of a person are enrolled, and its thresholds with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedfr.recognition.calibration.provable_rates import upper_bound
from fedfr.recognition.calibration.recalibration import cohort_features, recalibrate, stored_calibration
from fedfr.recognition.decision import StrangersPassing
from fedfr.recognition.enrolment.enrolment import Enrolment, Reading
from fedfr.recognition.enrolment.enrolment_checks import SimilarPerson, find_outliers, typical_scores
from fedfr.recognition.gallery.gallery_types import NewPhoto, Person
from fedfr.recognition.matcher import Matcher

if TYPE_CHECKING:
    from fedfr.recognition.gallery.gallery import Gallery

__all__ = ["enrol"]

Features: TypeAlias = NDArray[np.float32]


def enrol(gallery: Gallery, space: str, name: str, read: Reading, used: int, *, allow_similar: bool) -> Enrolment:
    """Enrol the candidates under ``name``, unless they are duplicates or outliers or resemble somebody else.

    The first ``used`` photos form the template, the others are held out. Photos and thresholds change together or not
    at all, so that the gallery never has another gallery's threshold.
    """
    with gallery.change():
        person = gallery.find(name)
        kept = _checked(gallery, space, person, read, used)
        result = Enrolment(name, None, kept.results, new=person is None)
        if not kept.candidates or (person is None and all(one.place >= used for one in kept.candidates)):
            return result
        similar = _similar(gallery, space, kept, None if person is None else person.id)
        if similar and not allow_similar:
            return replace(result, photos=kept.without(kept.candidates, "similar-person").results, similar=similar)
        photos = [
            NewPhoto(
                one.feature,
                one.face.quality.to_json(),
                one.face.crop if gallery.settings.crops == "keep" else None,
                one.digest,
                held_out=one.place >= used,
            )
            for one in kept.candidates
        ]
        if person is None:
            person = gallery.add_person(name, photos, space)
        else:
            gallery.add_photos(person.id, photos, space)
        calibration = recalibrate(gallery, space)
        places = {candidate.place for candidate in kept.candidates}
        return replace(
            result,
            person=person.name,
            person_id=person.id,
            photos=tuple(replace(photo, accepted=place in places) for place, photo in enumerate(kept.results)),
            similar=similar,
            total=len(gallery.person(person.id).photos),
            threshold=None if calibration is None else calibration.identify.value,
        )


def _checked(gallery: Gallery, space: str, person: Person | None, read: Reading, used: int) -> Reading:
    """Reject photos that are enrolled already, and those that show somebody else than the person's others.

    Held-out photos stay even if they are unlike the others: without them, the rate of rejected own images would be too
    good.
    """
    known: Features | None = None
    if person is not None:
        digests = {photo.digest for photo in gallery.photos(person.id)}
        read = read.without([one for one in read.candidates if one.digest in digests], "duplicate-image")
        known = gallery.features(space, person.id).matrix
    strangers = gallery.strangers(space)
    if not read.candidates or strangers is None:
        return read
    features = np.stack([candidate.feature for candidate in read.candidates])
    outliers = find_outliers(features, features[:0] if known is None else known, strangers.features)
    found = [read.candidates[index] for index in outliers]
    return read.without([one for one in found if one.place < used], "outlier")


def _similar(gallery: Gallery, space: str, read: Reading, own: str | None) -> tuple[SimilarPerson, ...]:
    """Return the other persons whom the photos resemble more than the threshold allows to strangers, nearest first."""
    calibration, templates = stored_calibration(gallery, space), gallery.templates(space)
    others = [row for row, person in enumerate(templates.ids) if person != own]
    if calibration is None or not others:
        return ()
    matcher = Matcher(templates.matrix[others], cohort_features(gallery, space, gallery.settings))
    scores = typical_scores(matcher.scores(np.stack([candidate.feature for candidate in read.candidates])))
    found = []
    for place in np.argsort(-scores):
        score = float(scores[place])
        if score <= calibration.identify.value:
            break
        person = gallery.person(templates.ids[others[place]])
        llr = None if calibration.llr is None else calibration.llr(score)
        found.append(
            SimilarPerson(
                person.name, person.id, score, _as_similar(calibration.scores.best[0], score, len(templates.ids)), llr
            )
        )
    return tuple(found)


def _as_similar(strangers: Sequence[float] | Features, score: float, enrolled: int) -> StrangersPassing:
    count, passing = len(strangers), int((np.asarray(strangers) >= score).sum())
    return StrangersPassing(passing / count, upper_bound(passing, count), count, enrolled)
