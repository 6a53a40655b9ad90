"""Recognizer of enrolled people: gallery, model, thresholds and decisions in one object."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet
from fedfr.models import UserPreprocessing
from fedfr.models.user_preprocessing import NO_USER_PREPROCESSING
from fedfr.recognition import creation
from fedfr.recognition.calibration.calibration_record import Calibration
from fedfr.recognition.calibration.drift import DriftReport
from fedfr.recognition.calibration.recalibration import recalibrate
from fedfr.recognition.decider import Decider, identify_face, verify_concealed, verify_face
from fedfr.recognition.decision import Decision
from fedfr.recognition.enrolment import enrolling
from fedfr.recognition.enrolment.enrolled_people import EnrolledPeople
from fedfr.recognition.enrolment.enrolment import Enrolment, Progress, list_photos, read_photos
from fedfr.recognition.gallery.gallery import Gallery
from fedfr.recognition.gallery.journal import JournalEntry
from fedfr.recognition.gallery.persons import check_name
from fedfr.recognition.people_features import People
from fedfr.recognition.photos.embedder import Embedder, FaceObservation
from fedfr.recognition.photos.photo import Photo
from fedfr.recognition.rebuild import Rebuild
from fedfr.recognition.rebuild import rebuild as rebuild_gallery
from fedfr.recognition.status import GalleryStatus, gallery_drift

__all__ = ["Recognizer"]


class Recognizer(EnrolledPeople):
    """Enrols people in a gallery and decides who is in a photo; safe for concurrent threads, a context manager.

    A photo is the path of a file, the bytes of one, or an RGB array (height, width, 3). With ``aligned`` it is a face
    crop of 112×112 pixels, aligned already. Other processes may use the same gallery: every call works with the people,
    thresholds and model of that moment. ``embedder`` replaces the gallery's own model, which must be of the same space.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from fedfr import FaceSet, Recognizer
    >>> from fedfr.models import Contract, Preprocessing, build_backbone, embedding_space, save_model
    >>> def face(person, image):
    ...     colours = np.random.default_rng(person).integers(0, 200, (7, 7, 3))
    ...     noise = np.random.default_rng((person, image)).integers(0, 50, (112, 112, 3))
    ...     return (colours.repeat(16, axis=0).repeat(16, axis=1) + noise).astype(np.uint8)
    >>> weights = build_backbone("slimface-small", seed=0).state_dict()
    >>> strangers = FaceSet(np.stack([face(100 + n, 0) for n in range(30)]), range(30), [f"{n}" for n in range(30)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model, door = Path(folder, "model.safetensors"), Path(folder, "door")
    ...     save_model(model, weights, Contract("slimface-small", 128, Preprocessing(), embedding_space(weights)))
    ...     with Recognizer.create(door, model=model, strangers=strangers, quality="off", fpir=0.1) as recognizer:
    ...         enrolment = recognizer.enrol("ada", [face(1, 0), face(1, 1)], aligned=True)
    ...         decisions = [recognizer.identify(face(person, 2), aligned=True) for person in (1, 2)]
    >>> enrolment.accepted, [(decision.outcome, decision.person) for decision in decisions]
    (2, [('accept', 'ada'), ('reject', None)])
    """

    def __init__(self, gallery: Gallery, embedder: Embedder | None = None) -> None:
        self.gallery = gallery
        self._decider = Decider(gallery, embedder)

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        model: str | Path,
        strangers: People,
        cohort: People | None = None,
        trained_on: Sequence[FaceSet] = (),
        detector: str | Path | None = None,
        detector_sha256: str | None = None,
        quality: str = "standard",
        fpir: float = 0.01,
        crops: bool = False,
        liveness: str | None = None,
        passphrase: str | None = None,
        progress: Progress | None = None,
        user_preprocessing: UserPreprocessing = NO_USER_PREPROCESSING,
    ) -> Self:
        """Create a gallery in a new folder, and open it.

        ``model`` and ``detector`` are copied into the folder. ``strangers`` are people nobody trained on and who will
        not be enrolled: a face set, or a folder with a sub-folder of photos for each person; one image of each is used.
        ``cohort`` are further people, with whom scores are normalized. ``trained_on`` are the faces on which the model
        was trained, as far as they are known: strangers who are among these people are refused, here and by later
        calls; without it, that is not checked. ``fpir`` is the largest share of strangers that may pass; with ``crops``
        the aligned faces of enrolled people are kept, sealed. ``liveness`` names a check of another package, see
        :mod:`fedfr.recognition.photos.liveness`. ``user_preprocessing`` is that of a model whose file does not state
        it; what is not given is assumed, with a warning that says what. Raises :class:`FedfrError` if the strangers are
        too few for the rate, and for a folder that is not empty; nothing is left there.
        """
        creation.create_gallery(
            Path(folder),
            Path(model),
            strangers,
            cohort=cohort,
            trained_on=trained_on,
            detector=None if detector is None else Path(detector),
            detector_sha256=detector_sha256,
            quality=quality,
            fpir=fpir,
            crops=crops,
            liveness=liveness,
            passphrase=passphrase,
            progress=progress,
            user_preprocessing=user_preprocessing,
        )
        return cls.open(folder, passphrase)

    @classmethod
    def open(cls, folder: str | Path, passphrase: str | None = None) -> Self:
        """Open a gallery; raises :class:`FedfrError` if it is none, is damaged, or the passphrase is wrong."""
        recognizer = cls(Gallery.open(Path(folder), passphrase))
        try:
            recognizer._decider.serving()
        except BaseException:
            recognizer.close()
            raise
        return recognizer

    def close(self) -> None:
        """Close the files of the gallery."""
        self.gallery.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def enrol(
        self,
        name: str,
        photos: Sequence[Photo] | Photo,
        *,
        aligned: bool = False,
        allow_similar: bool = False,
        held_out: Sequence[Photo] = (),
        progress: Progress | None = None,
    ) -> Enrolment:
        """Enrol a new person under ``name``, or add photos to the enrolled person of this name.

        Each photo is accepted, or rejected with reasons: by the quality gate, because it is enrolled already, or
        because the face does not resemble the person's others. If the photos resemble another enrolled person, nothing
        is enrolled unless ``allow_similar``. Photos in ``held_out`` form no template; they show how often the person is
        recognized, as photos on which the model was trained cannot. When the call returns, the thresholds are those of
        the new gallery.
        """
        given = list_photos(photos, name)
        check_name(name)
        embedder = self._decider.serving().embedder
        read = read_photos(embedder, [*given, *held_out], aligned=aligned, progress=progress)
        with self.gallery.change():
            self._require_space(embedder)
            result = enrolling.enrol(self.gallery, embedder.space, name, read, len(given), allow_similar=allow_similar)
            pseudonym = None if result.person_id is None else self.gallery.pseudonym(result.person_id)
            complete = result.accepted == len(result.photos)
            outcome = "refused" if not result.enrolled else "done" if complete else "partial"
            self.gallery.journal.append("enrol", outcome, person=pseudonym, reasons=result.reasons)
        return result

    def detect(self, photo: Photo, *, aligned: bool = False) -> list[FaceObservation]:
        """Return the faces in a photo, the main one first, with their quality; empty if there are none.

        Raises :class:`~fedfr.recognition.RejectedPhoto` if the photo cannot be read.
        """
        return self._decider.serving().embedder.look(photo, aligned=aligned)

    def identify(self, photo: Photo, *, aligned: bool = False) -> Decision:
        """Decide who is in a photo that shows one person."""
        return self.note(self.decide(photo, aligned=aligned))

    def decide(self, photo: Photo, *, aligned: bool = False) -> Decision:
        """Decide as :meth:`identify` does, without an entry in the journal."""
        (decision,) = self._decider.decide(photo, identify_face, aligned=aligned, alone=True)
        return decision

    def identify_all(self, photo: Photo, *, aligned: bool = False) -> list[Decision]:
        """Decide about every face in a photo; one without a face has a single decision that says so."""
        return [self.note(decision) for decision in self.decide_all(photo, aligned=aligned)]

    def decide_all(self, photo: Photo, *, aligned: bool = False) -> list[Decision]:
        """Decide about every face as :meth:`identify_all` does, without entries in the journal."""
        return self._decider.decide(photo, identify_face, aligned=aligned, alone=False)

    def note(self, decision: Decision) -> Decision:
        """Add a decision of :meth:`decide` or :meth:`decide_all` to the journal, and return it."""
        return self._decider.note("identify", decision)

    def verify(self, name: str, photo: Photo, *, aligned: bool = False) -> Decision:
        """Decide whether a photo shows the enrolled person of this name, by the person's own threshold."""
        person = self._person(name)
        (decision,) = self._decider.decide(photo, partial(verify_face, person.id), aligned=aligned, alone=True)
        return self._decider.note("verify", decision, person.id)

    def verify_concealed(self, person_id: str | None, photo: Photo, *, aligned: bool = False) -> Decision:
        """Decide as :meth:`verify` does, for a client that may not learn who is enrolled.

        ``person_id``: None for somebody who is not enrolled. Unless the face is accepted, the decision is the same for
        everybody: a rejection has no score.
        """
        (decision,) = self._decider.decide(photo, partial(verify_concealed, person_id), aligned=aligned, alone=True)
        return self._decider.note("verify", decision, person_id)

    def calibrate(
        self,
        fpir: float | None = None,
        *,
        strangers: People | None = None,
        cohort: People | None = None,
        leave_out: Collection[int] = (),
        confirm_settings: bool = False,
        progress: Progress | None = None,
    ) -> Calibration | None:
        """Set the thresholds so that at most a share ``fpir`` of strangers passes; None if nobody is enrolled.

        By default the rate, the strangers and the cohort are those of before. ``leave_out`` are rows of strangers who
        are enrolled people. Strangers are compared with the people on whom the model was trained, if the gallery knows
        them. ``confirm_settings`` puts in force what was changed by hand in ``gallery.yaml``. Raises
        :class:`FedfrError`, and changes nothing, if the strangers are too few, or changes by hand are not confirmed.
        """
        embedder, gallery = self._decider.serving().embedder, self.gallery
        changes: dict[str, Any] = {} if fpir is None else {"fpir": fpir}
        if cohort is not None:
            changes["normalization"] = "as-norm"
        settings = creation.changed_settings(gallery, changes, confirm=confirm_settings)
        judging = creation.judging_embedder(gallery, embedder, settings, strangers=strangers is not None)
        read = creation.read_people(judging, strangers, cohort, progress, settings.fpir, gallery.trained())
        with gallery.change():
            self._require_space(embedder)
            creation.store_people(gallery, embedder.space, read)
            creation.leave_out_strangers(gallery, embedder.space, leave_out)
            made = recalibrate(gallery, embedder.space, settings)
            gallery.seal_settings(settings)
            gallery.journal.append("settings" if confirm_settings else "calibrate", calibration=made.id if made else "")
        gallery.change_settings(**changes)  # if the process ends before, decisions wait for a confirmation
        self._decider.reload()
        return made

    def calibration(self) -> Calibration | None:
        """Return the calibration in use; None if there is none, and no decisions."""
        return self._decider.serving().enrolled.calibration

    def rebuild(
        self,
        model: str | Path,
        *,
        faces: FaceSet | str | Path | None = None,
        strangers: People | None = None,
        cohort: People | None = None,
        held_out: FaceSet | str | Path | None = None,
        progress: Progress | None = None,
        user_preprocessing: UserPreprocessing = NO_USER_PREPROCESSING,
        trained_on: Sequence[FaceSet] = (),
    ) -> Rebuild:
        """Prepare the gallery for another model and exchange both at once; the old one serves until then.

        Features come from the stored crops, or else from ``faces``, a face set with identities named as the persons;
        people with neither need a new photo. Images of such a set in ``held_out`` form no template. An interrupted call
        is continued by another one. ``user_preprocessing`` and ``trained_on`` as for :meth:`create`; without
        ``trained_on``, strangers are compared with the people on whom the former model was trained.
        """
        people = faces, strangers, cohort
        return rebuild_gallery(self.gallery, Path(model), *people, progress, held_out, user_preprocessing, trained_on)

    def rekey(self, passphrase: str | None = None) -> None:
        """Seal everything with new keys, in a file or derived from ``passphrase``; old copies need the old key."""
        self.gallery.rekey(passphrase, lambda: self.gallery.journal.append("rekey"))

    def export(self, destination: str | Path, passphrase: str) -> Path:
        """Write a copy of the gallery with its models into a new folder, sealed with a key of its own."""
        self.gallery.export(Path(destination), passphrase)
        self.gallery.journal.append("export")
        return Path(destination)

    def journal(self, limit: int | None = 100) -> list[JournalEntry]:
        """Return the newest entries of the journal, newest first; raises :class:`FedfrError` if one was changed."""
        return self.gallery.journal.entries(limit)

    def drift(self) -> DriftReport:
        """Compare the newest decisions in the journal with the calibration in use."""
        return gallery_drift(self.gallery, self.calibration())

    def status(self) -> GalleryStatus:
        """Return the state of the gallery: model, people, thresholds, and what needs attention."""
        with self.gallery.read():
            return GalleryStatus.of(self.gallery, self._decider.serving())

    def _require_space(self, embedder: Embedder) -> None:
        """Raise :class:`FedfrError` if the gallery has another model than ``embedder``."""
        space = self.gallery.active_space
        if space != embedder.space:
            raise FedfrError(
                f"the templates of {self.gallery.folder} are of another model (space {space}, the model has "
                f"{embedder.space}); rebuild the gallery, or repeat the command if it was just rebuilt"
            )
