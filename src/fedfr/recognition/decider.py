"""From a photo to decisions: face, quality, liveness, feature, rule, journal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.recognition import decisions
from fedfr.recognition.decision import ACCEPT, Decision
from fedfr.recognition.decisions import Enrolled, undecided
from fedfr.recognition.gallery.gallery import Gallery
from fedfr.recognition.photos.embedder import Embedder, FaceObservation
from fedfr.recognition.photos.liveness import is_living
from fedfr.recognition.photos.photo import Photo, RejectedPhoto, read_photo
from fedfr.recognition.serving import Serving, load_serving

__all__ = ["Decider", "Judge", "identify_face", "verify_concealed", "verify_face"]

Judge: TypeAlias = Callable[[Enrolled, NDArray[np.float32], FaceObservation], Decision]
"""Decision about a face with its unit feature (D,)."""


class Decider:
    """Decides about the faces in photos with the people, thresholds and model of the moment.

    ``embedder`` replaces the gallery's own model.
    """

    def __init__(self, gallery: Gallery, embedder: Embedder | None = None) -> None:
        self._gallery = gallery
        self._given = embedder
        self._loaded: Serving | None = None

    def serving(self) -> Serving:
        """Return what serves now; read again if any process has changed the gallery."""
        with self._gallery.read():
            self._loaded = load_serving(self._gallery, self._given, self._loaded)
            return self._loaded

    def reload(self) -> None:
        """Read everything again at the next decision, because settings have changed."""
        self._loaded = None

    def decide(self, photo: Photo, judge: Judge, *, aligned: bool, alone: bool) -> list[Decision]:
        """Return one decision about the main face with ``alone``, otherwise one about each face; at least one."""
        serving = self.serving()
        try:
            frame = read_photo(photo, aligned=aligned)
            faces = serving.embedder.look(frame, aligned=aligned, alone=alone)
        except RejectedPhoto as rejected:
            return [undecided(serving.enrolled, (rejected.code,))]
        if not faces:
            return [undecided(serving.enrolled, ("no-face",))]
        return [self._judged(frame, face, judge) for face in (faces[:1] if alone else faces)]

    def _judged(self, frame: NDArray[np.uint8], face: FaceObservation, judge: Judge) -> Decision:
        serving = self.serving()
        reasons = face.reasons or _problem(serving)
        if not reasons and not is_living(serving.check, frame, face.crop):
            reasons = ("liveness",)
        while not reasons:
            (feature,) = serving.embedder.features(face.crop[None])
            with self._gallery.read():
                now = self.serving()
                if now.embedder is serving.embedder:
                    return judge(now.enrolled, feature, face)
            # The gallery was rebuilt for another model meanwhile.
            serving = now
            reasons = _problem(serving)
        return undecided(serving.enrolled, reasons, face.box)

    def note(self, kind: str, decision: Decision, claimed: str | None = None) -> Decision:
        """Add a decision to the journal, with the pseudonym of the accepted person, or of ``claimed``."""
        person = claimed
        if claimed is None and decision.outcome == ACCEPT and decision.person_id is not None:
            person = decision.person_id
        self._gallery.journal.append(
            kind,
            decision.outcome,
            person=None if person is None else self._pseudonym(person),
            score=decision.score,
            threshold=decision.threshold,
            reasons=decision.reasons,
            calibration=decision.calibration,
        )
        return decision

    def _pseudonym(self, person: str) -> str | None:
        """Return the pseudonym of a person, None if the person was removed since the decision."""
        with contextlib.suppress(FedfrError):
            return self._gallery.pseudonym(person)
        return None


def _problem(serving: Serving) -> tuple[str, ...]:
    return (serving.enrolled.problem,) if serving.enrolled.problem else ()


def identify_face(enrolled: Enrolled, feature: NDArray[np.float32], face: FaceObservation) -> Decision:
    """Decide whose face it is, as :func:`~fedfr.recognition.decisions.identify` does."""
    return decisions.identify(enrolled, feature, face.box)


def verify_face(person: str, enrolled: Enrolled, feature: NDArray[np.float32], face: FaceObservation) -> Decision:
    """Decide whether it is the person with this id, as :func:`~fedfr.recognition.decisions.verify` does."""
    return decisions.verify(enrolled, person, feature, face.box)


def verify_concealed(
    person: str | None, enrolled: Enrolled, feature: NDArray[np.float32], face: FaceObservation
) -> Decision:
    """Decide as :func:`~fedfr.recognition.decisions.concealed` does."""
    return decisions.concealed(enrolled, person, feature, face.box)
