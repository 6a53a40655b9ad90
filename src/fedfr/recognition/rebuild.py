"""Change of a gallery to another model: features in the new space beside the old one, then one switch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, load_faces
from fedfr.faces.name_matching import normalized_name
from fedfr.models import UserPreprocessing
from fedfr.models.user_preprocessing import NO_USER_PREPROCESSING
from fedfr.recognition.calibration.recalibration import recalibrate
from fedfr.recognition.creation import read_people, store_people, tell_assumed
from fedfr.recognition.enrolment.enrolment import Progress, digest_of
from fedfr.recognition.gallery.gallery import Gallery
from fedfr.recognition.gallery.gallery_types import NewPhoto, Person
from fedfr.recognition.people_features import People
from fedfr.recognition.photos.embedder import Embedder, FaceObservation
from fedfr.recognition.serving import MODELS, backbone_setting, embedder_for
from fedfr.recognition.trained_people import hash_people

__all__ = ["Rebuild", "rebuild"]

_MOST_IMAGES = 20
"""Number of images of a face set from which a person's template is made."""


@dataclass(frozen=True)
class Rebuild:
    """Result of a rebuild: the space that is active now, and who has a template in it.

    ``changed`` is False if the gallery had this model already. ``waiting`` are the persons who need a new photo.
    """

    space: str
    changed: bool
    people: int
    waiting: tuple[Person, ...] = ()
    threshold: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "space": self.space,
            "changed": self.changed,
            "people": self.people,
            "needs_photo": [person.id for person in self.waiting],
            "threshold": self.threshold,
        }

    def lines(self) -> list[str]:
        """Return lines for people."""
        if not self.changed:
            return [f"the gallery has this model already (space {self.space}); nothing is changed"]
        found = [f"the new model is in use (space {self.space}), with {self.people} of its people"]
        if self.waiting:
            names = ", ".join(person.name for person in self.waiting)
            found.append(f"a new photo is needed of {len(self.waiting)}: {names}")
        return found


def rebuild(
    gallery: Gallery,
    model: Path,
    faces: FaceSet | str | Path | None,
    strangers: People | None,
    cohort: People | None,
    progress: Progress | None = None,
    held_out: FaceSet | str | Path | None = None,
    user_preprocessing: UserPreprocessing = NO_USER_PREPROCESSING,
    trained_on: Sequence[FaceSet] = (),
) -> Rebuild:
    """Prepare ``gallery`` for the model in a file, and make it the active one; arguments as ``Recognizer.rebuild``.

    Features are stored in small changes, so that another call continues after an interruption. The last change
    calibrates the new space and makes it the active one. Raises :class:`FedfrError` if there are no strangers of the
    new model, or too few for the promised rate, and if nobody would have a template.
    """
    embedder = embedder_for(gallery, model, user_preprocessing=user_preprocessing)
    tell_assumed(embedder, user_preprocessing)
    space = embedder.space
    if space == gallery.active_space:
        _remove_other_models(gallery)
        return Rebuild(space, changed=False, people=len(gallery.templates().ids))
    _prepare_strangers(gallery, embedder, strangers, cohort, progress, trained_on)
    if backbone_setting(embedder) is not None:
        gallery.change_settings(backbone=backbone_setting(embedder))
    sources = [] if faces is None else [_Source.of(faces, held_out=False)]
    sources += [] if held_out is None else [_Source.of(held_out, held_out=True)]
    while True:
        people = gallery.persons()
        for number, person in enumerate(people, 1):
            if not _from_crops(gallery, embedder, person):
                _from_faces(gallery, embedder, person, sources)
            if progress is not None:
                progress(number, len(people))
        with gallery.change():
            # People may have been enrolled or have got photos meanwhile.
            if any(_missing(gallery, space, person) for person in gallery.persons()):
                continue
            result = _switch(gallery, embedder)
        break
    _remove_other_models(gallery)
    return result


def _remove_other_models(gallery: Gallery) -> None:
    """Remove the files of models that are not in use, also those that a killed rebuild left."""

    def others() -> list[Path]:
        used = (gallery.active_space or "").removeprefix("sha256:")
        files = (gallery.folder / MODELS).glob("*")
        return [file for file in files if file.stem != used and not file.name.startswith(".")]

    if others():
        with gallery.database.alone():  # another process may be about to change to one of them
            for file in others():
                file.unlink(missing_ok=True)


def _switch(gallery: Gallery, embedder: Embedder) -> Rebuild:
    """Calibrate the new space and make it the active one, within a change."""
    space = embedder.space
    enrolled = set(gallery.templates(space).ids)
    people = gallery.persons()
    if people and not enrolled:
        raise FedfrError(
            f"{gallery.folder} keeps no crops, and no face set has its people: nobody would be recognized; name a face "
            "set with --faces, or create a new gallery and enrol everybody again"
        )
    gallery.seal_model(space, embedder.save_model(gallery.folder / MODELS))
    calibration = recalibrate(gallery, space)
    gallery.switch(space)
    for other in gallery.spaces():  # the old one, and any of a rebuild that was given up
        if other != space:
            gallery.drop_space(other)
    gallery.journal.append("rebuild")
    waiting = tuple(person for person in people if person.id not in enrolled)
    threshold = None if calibration is None else calibration.identify.value
    return Rebuild(space, True, len(enrolled), waiting, threshold)


def _prepare_strangers(
    gallery: Gallery,
    embedder: Embedder,
    strangers: People | None,
    cohort: People | None,
    progress: Progress | None,
    trained_on: Sequence[FaceSet],
) -> None:
    """Store the strangers' features, and those of a cohort, in the new space, unless an earlier call did.

    If nobody says on whom the new model was trained, these are the people of before: a federation continues with them.
    """
    space, normalized = embedder.space, gallery.settings.normalization == "as-norm"
    kept = space in gallery.spaces()
    has = {kind: kept and gallery.strangers(space, kind) is not None for kind in ("strangers", "cohort")}
    for kind, given, needed in (("strangers", strangers, True), ("cohort", cohort, normalized)):
        if needed and given is None and not has[kind]:
            raise FedfrError(
                f"features of the {kind} are needed from the new model; name their photos or face set with --{kind}"
            )
    trained = hash_people(trained_on) or (gallery.trained(space) if kept else None) or gallery.trained()
    people = read_people(embedder, strangers, cohort if normalized else None, progress, gallery.settings.fpir, trained)
    with gallery.change():
        store_people(gallery, space, people, trained)


def _missing(gallery: Gallery, space: str, person: Person) -> list[int]:
    """Return the photos of a person with a crop and without a feature in the space."""
    done = set(gallery.features(space, person.id).photos)
    return [photo.number for photo in gallery.photos(person.id) if photo.has_crop and photo.number not in done]


def _from_crops(gallery: Gallery, embedder: Embedder, person: Person) -> bool:
    """Store the features of a person's crops in the new space; return whether the person has features there."""
    missing = _missing(gallery, embedder.space, person)
    if missing:
        crops = gallery.crops(person.id)
        features = embedder.features(np.stack([crops[number] for number in missing]))
        gallery.put_features(embedder.space, dict(zip(missing, features, strict=True)))
    return bool(missing or gallery.features(embedder.space, person.id).photos)


@dataclass(frozen=True)
class _Source:
    """Face set with the label of each identity by its normalized name; ``held_out`` images are in no template."""

    faces: FaceSet
    labels: dict[str, int]
    held_out: bool

    @classmethod
    def of(cls, given: FaceSet | str | Path, *, held_out: bool) -> _Source:
        faces = given if isinstance(given, FaceSet) else load_faces(given)
        return cls(faces, {normalized_name(name): label for label, name in enumerate(faces.identities)}, held_out)

    def images(self, person: Person) -> NDArray[np.uint8]:
        """Return up to :data:`_MOST_IMAGES` images of a person, spread over all of them."""
        label = self.labels.get(normalized_name(person.name))
        rows = self.faces.indices_of(label) if label is not None else np.empty(0, np.int64)
        return self.faces.images(rows[np.linspace(0, len(rows) - 1, min(len(rows), _MOST_IMAGES)).astype(np.int64)])


def _from_faces(gallery: Gallery, embedder: Embedder, person: Person, sources: Sequence[_Source]) -> None:
    """Store features of a person's images in face sets in the new space, as new photos unless they are enrolled."""
    found: dict[str, tuple[FaceObservation, bool]] = {}
    for source in sources:
        for image in source.images(person):
            (face,) = embedder.look(image, aligned=True)
            if not face.reasons:
                found.setdefault(digest_of(face.crop), (face, source.held_out))
    if not found:
        return
    matrix = embedder.features(np.stack([face.crop for face, _ in found.values()]))
    features = dict(zip(found, matrix, strict=True))
    keep = gallery.settings.crops == "keep"
    with gallery.change():
        known = {photo.digest: photo.number for photo in gallery.photos(person.id)}
        gallery.put_features(embedder.space, {known[one]: features[one] for one in found if one in known})
        new = [
            NewPhoto(features[one], face.quality.to_json(), face.crop if keep else None, one, held_out=held_out)
            for one, (face, held_out) in found.items()
            if one not in known
        ]
        if new:
            gallery.add_photos(person.id, new, embedder.space)
