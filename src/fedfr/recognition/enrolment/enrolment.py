"""Enrolment of a person from photos: what was accepted, what was not and why, and who resembles the person."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.recognition.decision import REASONS, reasons_to_json
from fedfr.recognition.enrolment.enrolment_checks import SimilarPerson
from fedfr.recognition.photos.embedder import Embedder, FaceObservation
from fedfr.recognition.photos.photo import Photo, RejectedPhoto

__all__ = ["Candidate", "Enrolment", "PhotoResult", "Reading", "digest_of", "list_photos", "read_photos"]

Features: TypeAlias = NDArray[np.float32]
Progress: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True)
class PhotoResult:
    """Outcome for one photo: accepted, or the reasons why it is not enrolled, keys of :data:`REASONS`.

    ``photo`` is the name of the file, or the number of the photo from 1 if it came without a name.
    """

    photo: str
    reasons: tuple[str, ...] = ()
    detail: str = ""
    accepted: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, with the explanation of every reason."""
        return {
            "photo": self.photo,
            "accepted": self.accepted,
            "reasons": reasons_to_json(self.reasons),
            "detail": self.detail,
        }


@dataclass(frozen=True)
class Enrolment:
    """Result of an enrolment.

    ``person_id`` is None if nothing was enrolled: no photo was accepted, or the person resembles others
    (``similar``) and that was not allowed. ``new`` tells a new person from new photos of an enrolled one, ``total`` is
    the person's number of photos afterwards, and ``threshold`` that of the gallery.
    """

    person: str
    person_id: str | None
    photos: tuple[PhotoResult, ...]
    similar: tuple[SimilarPerson, ...] = ()
    new: bool = True
    total: int = 0
    threshold: float | None = None

    @property
    def enrolled(self) -> bool:
        """Whether photos were enrolled."""
        return self.person_id is not None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Reason codes of all rejected photos, each once."""
        return tuple(dict.fromkeys(code for photo in self.photos for code in photo.reasons))

    @property
    def accepted(self) -> int:
        """Number of accepted photos."""
        return sum(photo.accepted for photo in self.photos)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "person": self.person,
            "person_id": self.person_id,
            "enrolled": self.enrolled,
            "new": self.new,
            "accepted": self.accepted,
            "total": self.total,
            "photos": [photo.to_json() for photo in self.photos],
            "similar": [person.to_json() for person in self.similar],
            "threshold": self.threshold,
        }

    def lines(self) -> list[str]:
        """Return lines for people: what was enrolled, and the reasons for every other photo."""
        photos = "photo" if len(self.photos) == 1 else "photos"
        lines = [f"{self.person}: {self.accepted} of {len(self.photos)} {photos} enrolled"]
        if self.enrolled and not self.new:
            lines[0] += f", {self.total} altogether"
        for photo in self.photos:
            detail = f" ({photo.detail})" if photo.detail else ""
            lines += [f"  {photo.photo}: {_explained(code)}{detail}" for code in photo.reasons]
        lines += [f"  {person.text}" for person in self.similar]
        if self.similar and not self.enrolled:
            lines.append("  if this is right, enrol with --allow-similar")
        return lines


@dataclass(frozen=True)
class Candidate:
    """A photo that passed the quality gate: its place among all photos, face, digest of the crop, and unit feature."""

    place: int
    face: FaceObservation
    digest: str
    feature: Features


@dataclass(frozen=True)
class Reading:
    """Photos that were read: the result of each so far, and the candidates for enrolment."""

    results: tuple[PhotoResult, ...]
    candidates: tuple[Candidate, ...]

    def without(self, rejected: Sequence[Candidate], reason: str) -> Reading:
        """Return the same photos with some candidates rejected for a reason."""
        places = {candidate.place for candidate in rejected}
        results = (
            replace(result, reasons=(reason,)) if place in places else result
            for place, result in enumerate(self.results)
        )
        return Reading(tuple(results), tuple(one for one in self.candidates if one.place not in places))


def list_photos(photos: Sequence[Photo] | Photo, name: str) -> list[Photo]:
    """Return one photo, or several, as a list; raises :class:`FedfrError` if there is none of the person ``name``."""
    if isinstance(photos, np.ndarray):
        given: list[Photo] = list(photos) if photos.ndim == 4 else [photos]
    else:
        given = [photos] if isinstance(photos, str | Path | bytes) else list(photos)
    if not given:
        raise FedfrError(f"no photo of {name!r} is given; give at least one")
    return given


def read_photos(
    embedder: Embedder, photos: Sequence[Photo], *, aligned: bool = False, progress: Progress | None = None
) -> Reading:
    """Find the face in each photo, judge it, and compute its feature.

    A photo is rejected if it cannot be read, holds no face, does not pass the quality gate, or equals an earlier one.
    ``progress`` is called with the number of photos done and of all photos.
    """
    results: list[PhotoResult] = []
    faces: dict[str, tuple[int, FaceObservation]] = {}
    for place, photo in enumerate(photos):
        name = str(photo) if isinstance(photo, str | Path) else str(place + 1)
        face, result = _look(embedder, photo, name, aligned)
        if face is not None:
            digest = digest_of(face.crop)
            if digest in faces:
                result = replace(result, reasons=("duplicate-image",))
            else:
                faces[digest] = place, face
        results.append(result)
        if progress is not None:
            progress(place + 1, len(photos))
    crops = [face.crop for _, face in faces.values()]
    features = embedder.features(np.stack(crops)) if crops else ()
    candidates = (
        Candidate(place, face, digest, feature)
        for (digest, (place, face)), feature in zip(faces.items(), features, strict=True)
    )
    return Reading(tuple(results), tuple(candidates))


def digest_of(crop: NDArray[np.uint8]) -> str:
    """Return the hash of an aligned crop, by which the same image is noticed."""
    return hashlib.sha256(crop.tobytes()).hexdigest()


def _look(embedder: Embedder, photo: Photo, name: str, aligned: bool) -> tuple[FaceObservation | None, PhotoResult]:
    try:
        faces = embedder.look(photo, aligned=aligned)
    except RejectedPhoto as rejected:
        return None, PhotoResult(name, (rejected.code,), rejected.detail)
    if not faces:
        return None, PhotoResult(name, ("no-face",))
    if faces[0].reasons:
        return None, PhotoResult(name, faces[0].reasons)
    return faces[0], PhotoResult(name)


def _explained(code: str) -> str:
    return f"{code}: {REASONS[code].text}; {REASONS[code].advice}"
