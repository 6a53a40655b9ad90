"""State of a gallery for people and programs: model, people, thresholds, and what needs attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from fedfr.core.errors import FedfrError
from fedfr.recognition.calibration.calibration_record import Calibration
from fedfr.recognition.calibration.drift import DriftReport, find_drift
from fedfr.recognition.calibration.strangers import stranger_notices
from fedfr.recognition.decision import REASONS, reasons_to_json
from fedfr.recognition.gallery.gallery import Gallery
from fedfr.recognition.serving import Serving

__all__ = ["GalleryStatus", "compared_strangers", "gallery_drift"]

_DRIFT_ENTRIES = 5000
"""Number of the journal's newest entries by which drift is judged."""


@dataclass(frozen=True)
class GalleryStatus:
    """State of a gallery.

    ``model`` is the role of the model, generic or personalized. ``waiting`` are the ids of the persons who need a new
    photo. ``problem`` is the reason code why nothing can be decided, empty otherwise, and ``calibration`` the
    calibration in use, None if there is none. ``attracting`` are the people as whom strangers of the calibration would
    pass, with the number of strangers. ``unconfirmed`` says which settings in ``gallery.yaml`` are not in force.
    ``trained_images`` is the number of images on which the model was trained, as far as they are known; None if nobody
    said it, and strangers are not compared with them. ``newest_entry`` is the number of the journal's newest entry.
    """

    name: str
    model: str
    space: str
    detects: bool
    quality: str
    fpir: float
    crops_kept: bool
    liveness: str | None
    journal_days: int
    newest_entry: int
    enrolled: int
    waiting: tuple[str, ...]
    strangers: int
    trained_images: int | None
    cohort: int
    calibration: Calibration | None
    attracting: tuple[tuple[str, int], ...] = ()
    problem: str = ""
    model_notice: str = ""
    unconfirmed: tuple[str, ...] = ()

    @classmethod
    def of(cls, gallery: Gallery, serving: Serving) -> Self:
        """Return the state of a gallery, within ``gallery.read()``."""
        settings, space = gallery.settings, gallery.active_space or ""
        people = gallery.persons()
        strangers, cohort = gallery.strangers(space), gallery.strangers(space, "cohort")
        calibration, names = serving.enrolled.calibration, {person.id: person.name for person in people}
        attracting = () if calibration is None else calibration.attracting
        return cls(
            name=gallery.folder.resolve().name,
            model=serving.embedder.model_role,
            space=space,
            detects=serving.embedder.detects,
            quality=settings.quality,
            fpir=settings.fpir,
            crops_kept=settings.crops == "keep",
            liveness=settings.liveness,
            journal_days=settings.journal_days,
            newest_entry=gallery.journal.newest,
            enrolled=len(people),
            waiting=tuple(person.id for person in people if person.id not in serving.enrolled.rows),
            strangers=0 if strangers is None else len(strangers.features),
            trained_images=gallery.trained_images(space),
            cohort=0 if cohort is None else len(cohort.features),
            calibration=calibration,
            attracting=tuple(
                (names[one.person], one.passing) for one in attracting if one.passing and one.person in names
            ),
            problem=serving.enrolled.problem,
            model_notice=serving.embedder.model_notice,
            unconfirmed=tuple(gallery.unconfirmed.values()),
        )

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences about what needs attention."""
        found = [self.model_notice] if self.model_notice else []
        if self.problem:
            found.append(f"no decisions: {self.problem}: {REASONS[self.problem].text}; {REASONS[self.problem].advice}")
        found += self.unconfirmed
        if self.waiting:
            people = "1 person has" if len(self.waiting) == 1 else f"{len(self.waiting)} people have"
            found.append(f"{people} no template of this model; enrol them again with new photos")
        return (*found, *(stranger_notices(self.calibration) if self.calibration else ()))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; the calibration is its summary."""
        return {
            "gallery": self.name,
            "model": self.model,
            "space": self.space,
            "detector": self.detects,
            "quality": self.quality,
            "fpir": self.fpir,
            "crops_kept": self.crops_kept,
            "liveness": self.liveness,
            "journal_days": self.journal_days,
            "newest_entry": self.newest_entry,
            "enrolled": self.enrolled,
            "needs_photo": list(self.waiting),
            "strangers": self.strangers,
            "trained_images": self.trained_images,
            "cohort": self.cohort,
            "problem": reasons_to_json((self.problem,))[0] if self.problem else None,
            "notices": list(self.notices),
            "calibration": None if self.calibration is None else self.calibration.summary(),
        }

    def facts(self) -> dict[str, str]:
        """Return what there is to say, by title, for people."""
        found = {
            "model": f"{self.model}, space {self.space}",
            "people": f"{self.enrolled}" + (f", {len(self.waiting)} need a photo" if self.waiting else ""),
            "photos": ("a detector finds the face" if self.detects else "aligned crops only, there is no detector")
            + f"; quality gate {self.quality}",
            "crops": "kept, sealed" if self.crops_kept else "not kept",
            "strangers": f"{self.strangers}, {compared_strangers(self.trained_images)}"
            + (f"; {self.cohort} people in the cohort" if self.cohort else ""),
            "liveness": self.liveness or "not checked: a photo held up to the camera counts as a face",
            "journal": (f"{self.journal_days} days" if self.journal_days else "without limit")
            + f"; newest entry {self.newest_entry}",
        }
        return found | self.calibration_facts()

    def calibration_facts(self) -> dict[str, str]:
        """Return what the calibration promises, by title, for people."""
        calibration = self.calibration
        if calibration is None:
            return {}
        return {
            "promise": f"at most {100 * calibration.fpir:.4g} % of strangers pass",
            "threshold": f"{calibration.identify.value:.4f} ({_scores(calibration)})",
            "strangers pass": calibration.strangers_passing().text,
            "own images": "unknown: nobody has two photos" if calibration.genuine is None else calibration.genuine.text,
            "they pass as": ", ".join(f"{name} ({count})" for name, count in self.attracting) or "nobody",
        }


def compared_strangers(trained_images: int | None) -> str:
    """Return whether strangers are compared with the people on whom the model was trained, of whom so many images."""
    if trained_images is None:
        return "not checked: on whom the model was trained is not known"
    return f"compared with {trained_images} images on which the model was trained"


def gallery_drift(gallery: Gallery, calibration: Calibration | None) -> DriftReport:
    """Compare the newest decisions in the journal with the calibration in use.

    The level is ``watch`` if entries of the journal were changed: nothing can be said about the decisions then.
    """
    if calibration is None:
        return DriftReport("recalibrate", "there is no calibration in use; calibrate the gallery")
    pseudonyms = {gallery.pseudonym(person.id): person.id for person in gallery.persons()}
    try:
        entries = gallery.journal.entries(_DRIFT_ENTRIES)
    except FedfrError:
        check = gallery.journal.verify()
        return DriftReport("watch", f"decisions cannot be compared: {check.text}; restore the gallery from a copy")
    return find_drift(calibration, entries, pseudonyms)


def _scores(calibration: Calibration) -> str:
    return "cosine" if calibration.normalization == "none" else "score normalized with a cohort"
