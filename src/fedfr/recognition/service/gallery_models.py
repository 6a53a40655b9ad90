"""Documented form of responses about people, the gallery, its calibration and its journal."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fedfr.recognition.calibration.drift import Level
from fedfr.recognition.service.models import ReasonBody, Sent, StrangersPassingBody

__all__ = [
    "CalibrationBody",
    "DriftBody",
    "EnrolmentBody",
    "GalleryBody",
    "JournalBody",
    "NewCalibration",
    "PersonAnswer",
    "Persons",
    "RebuildBody",
    "RemovalBody",
]


class PersonBody(Sent):
    """Enrolled person."""

    id: str = Field(examples=["3f9a01c47be2"])
    name: str = Field(examples=["ada"])
    added: str = Field(description="Time of enrolment (UTC).", examples=["2026-11-28T15:07:26Z"])
    photos: list[int] = Field(description="Numbers of the images.", examples=[[5, 7, 9]])


class PersonAnswer(PersonBody):
    """Enrolled person."""

    request_id: str


class Persons(Sent):
    """Enrolled people, in the order of enrolment."""

    persons: list[PersonBody]
    request_id: str


class RemovalBody(Sent):
    """What was deleted."""

    id: str
    photos: int = Field(description="Number of images.", examples=[3])
    crops: int = Field(description="Number of stored aligned faces.", examples=[0])
    cleared: bool = Field(description="False while another process reads the files, until the next change.")
    calibrated: bool = Field(description="False if no thresholds could be computed for those who remain.")
    remains: str = Field(description="What is not deleted.")
    request_id: str


class PhotoBody(Sent):
    """Result for one image."""

    photo: str = Field(description="Place in the form, from 1.", examples=["1"])
    accepted: bool
    reasons: list[ReasonBody] = Field(description="Why it is not enrolled.")
    detail: str


class SimilarBody(Sent):
    """Enrolled person who resembles the new one: a twin, a relative, or the same person."""

    person: str
    person_id: str
    score: float
    as_similar: dict[str, float]
    llr: float | None
    text: str


class EnrolmentBody(Sent):
    """Result of an enrolment."""

    person: str
    person_id: str | None
    enrolled: bool
    new: bool = Field(description="Whether the person is new.")
    accepted: int = Field(description="Number of images that were enrolled.")
    total: int = Field(description="The person's number of images afterwards.")
    photos: list[PhotoBody]
    similar: list[SimilarBody]
    threshold: float | None = Field(description="Threshold of the gallery afterwards.")
    request_id: str


class ThresholdBody(Sent):
    """Threshold, and how many strangers are above it."""

    value: float
    fpir: float = Field(description="Promised rate.")
    strangers: int
    passing: int
    upper95: float
    estimate: float


class GenuineBody(Sent):
    """Share of own images that are rejected, with its interval."""

    rate: float
    low: float
    high: float
    images: int
    people: int
    source: str
    text: str


class LikelihoodBody(Sent):
    """Log-likelihood ratio as a function of the score: slope × score + offset, within bounds."""

    slope: float
    offset: float
    lowest: float
    highest: float
    cllr: float


class AttractionBody(Sent):
    """Person whom strangers resemble."""

    person: str
    nearest: float = Field(description="Share of strangers who resemble this person most.")
    passing: int


class HistogramsBody(Sent):
    """Counts of scores in the same bins."""

    edges: list[float]
    strangers: list[int]
    own: list[int]


class CalibrationFields(Sent):
    """Calibration; `verify` and `attracting` need the scope admin."""

    id: str
    space: str
    created: str
    enrolled: int
    fpir: float = Field(description="Promised rate: the largest share of strangers that may pass.")
    confidence: float
    normalization: Literal["none", "as-norm"]
    identify: ThresholdBody
    strangers_passing: StrangersPassingBody
    verify: dict[str, float] | None = Field(None, description="Threshold of each person, by id.")
    genuine: GenuineBody | None
    genuine_verify: GenuineBody | None
    llr: LikelihoodBody | None
    margin: float
    attracting: list[AttractionBody] | None = None
    histograms: HistogramsBody


class CalibrationBody(CalibrationFields):
    """Calibration in use."""

    request_id: str


class NewCalibration(Sent):
    """New calibration; null if nobody is enrolled."""

    calibration: CalibrationFields | None
    request_id: str


class GalleryBody(Sent):
    """State of the gallery."""

    gallery: str = Field(description="Name of its folder.")
    model: str = Field(description="Role of the model: generic or personalized.")
    space: str
    detector: bool = Field(description="Without a detector, aligned crops of 112×112 pixels are taken.")
    quality: str
    fpir: float
    crops_kept: bool
    liveness: str | None
    journal_days: int
    newest_entry: int = Field(description="Number of the newest entry of the journal.")
    enrolled: int
    needs_photo: list[str] | int = Field(description="Ids of people without a template; their number for doors.")
    strangers: int
    trained_images: int | None = Field(
        description="Number of images on which the model was trained, with which strangers are compared; null: unknown."
    )
    cohort: int
    problem: ReasonBody | None = Field(description="Why nothing can be decided.")
    notices: list[str]
    calibration: CalibrationFields | None
    drift: Level = Field(description="Whether recent decisions agree with the calibration.")
    scope: Literal["door", "admin"] = Field(description="Scope of the caller.")
    request_id: str


class JournalEntryBody(Sent):
    """Decision or change; `person` is a pseudonym."""

    number: int
    time: str
    kind: str
    outcome: str
    person: str | None
    score: float | None
    threshold: float | None
    reasons: list[str]
    calibration: str


class JournalCheckBody(Sent):
    """Check of the whole journal; `wrong` is the first entry that was changed, removed or inserted."""

    entries: int = Field(description="Number of entries that are whole, up to the first that is wrong.")
    newest: int = Field(description="Number of the newest entry that was written.")
    wrong: int | None
    reason: str
    text: str


class JournalBody(Sent):
    """Entries of the journal, the newest first; those before the first wrong one if there is one."""

    check: JournalCheckBody
    entries: list[JournalEntryBody]
    request_id: str


class DriftFindingBody(Sent):
    """Result of one test."""

    test: str
    level: str
    p: float | None
    text: str


class DriftBody(Sent):
    """Recent decisions compared with the calibration."""

    level: Level
    text: str
    findings: list[DriftFindingBody]
    decisions: int
    first: int
    last: int
    request_id: str


class RebuildResult(Sent):
    """Outcome of a rebuild."""

    space: str
    changed: bool
    people: int
    needs_photo: list[str]
    threshold: float | None


class RebuildBody(Sent):
    """Latest rebuild."""

    state: Literal["idle", "running", "done", "failed"]
    done: int
    total: int
    result: RebuildResult | None
    error: str | None
    possible: bool = Field(description="Whether the service knows a site with newer models.")
    request_id: str
