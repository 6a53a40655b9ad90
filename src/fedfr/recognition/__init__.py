"""Recognition of enrolled people: galleries, calibrated thresholds, decisions and the service at the door."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedfr.core.lazy import exports

if TYPE_CHECKING:
    from fedfr.recognition.calibration.calibrate import Attraction, Calibration, calibrate
    from fedfr.recognition.calibration.drift import DriftFinding, DriftReport, find_drift
    from fedfr.recognition.calibration.genuine import GenuineProbes, GenuineRate, leave_one_out
    from fedfr.recognition.calibration.likelihood import Likelihood, fit_likelihood
    from fedfr.recognition.calibration.provable_rates import Threshold, provable_rate, strangers_needed, threshold_for
    from fedfr.recognition.decision import REASONS, Decision, Reason, StrangersPassing
    from fedfr.recognition.enrolment.enrolment import Enrolment, PhotoResult
    from fedfr.recognition.enrolment.enrolment_checks import SimilarPerson
    from fedfr.recognition.photos.embedder import Embedder, FaceObservation
    from fedfr.recognition.photos.photo import Photo, RejectedPhoto, read_photo
    from fedfr.recognition.photos.quality import GATES, Gate, Pose, Quality, estimate_pose, measure_quality
    from fedfr.recognition.rebuild import Rebuild
    from fedfr.recognition.recognizer import Recognizer
    from fedfr.recognition.status import GalleryStatus
else:
    __getattr__ = exports(
        __name__,
        {
            "calibration.calibrate": "Attraction Calibration calibrate",
            "decision": "REASONS Decision Reason StrangersPassing",
            "calibration.drift": "DriftFinding DriftReport find_drift",
            "calibration.genuine": "GenuineProbes GenuineRate leave_one_out",
            "calibration.likelihood": "Likelihood fit_likelihood",
            "calibration.provable_rates": "Threshold provable_rate strangers_needed threshold_for",
            "photos.embedder": "Embedder FaceObservation",
            "enrolment.enrolment": "Enrolment PhotoResult",
            "enrolment.enrolment_checks": "SimilarPerson",
            "rebuild": "Rebuild",
            "recognizer": "Recognizer",
            "status": "GalleryStatus",
            "photos.photo": "Photo RejectedPhoto read_photo",
            "photos.quality": "GATES Gate Pose Quality estimate_pose measure_quality",
        },
    )

__all__ = [
    "GATES",
    "REASONS",
    "Attraction",
    "Calibration",
    "Decision",
    "DriftFinding",
    "DriftReport",
    "Embedder",
    "Enrolment",
    "FaceObservation",
    "GalleryStatus",
    "Gate",
    "GenuineProbes",
    "GenuineRate",
    "Likelihood",
    "Photo",
    "PhotoResult",
    "Pose",
    "Quality",
    "Reason",
    "Rebuild",
    "Recognizer",
    "RejectedPhoto",
    "SimilarPerson",
    "StrangersPassing",
    "Threshold",
    "calibrate",
    "estimate_pose",
    "find_drift",
    "fit_likelihood",
    "leave_one_out",
    "measure_quality",
    "provable_rate",
    "read_photo",
    "strangers_needed",
    "threshold_for",
]


def __dir__() -> list[str]:
    return sorted(__all__)
