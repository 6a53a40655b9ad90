"""Documented form of requests and responses."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "ERRORS",
    "Calibrate",
    "DecisionBody",
    "Decisions",
    "ErrorBody",
    "Faces",
    "Health",
    "ReasonBody",
    "Sent",
    "StrangersPassingBody",
    "Watched",
    "form",
]


class Sent(BaseModel):
    """Part of a response; it has no other fields."""

    model_config = ConfigDict(extra="forbid")


class ErrorDetail(Sent):
    """Why a request is refused."""

    code: str = Field(description="Code for programs; it does not change between versions.", examples=["too-large"])
    message: str = Field(description="One line for people.", examples=["a file is larger than 10485760 bytes"])
    details: dict[str, Any] = Field(description="More about some errors.", examples=[{"bytes": 10485760}])


class ErrorBody(Sent):
    """Every response other than success."""

    error: ErrorDetail
    request_id: str = Field(description="Also in the header X-Request-ID.", examples=["9f2c4a7be01d5360"])


class Health(Sent):
    """State of the service."""

    status: Literal["ok", "starting"] = Field(description="`ok` once the gallery is open.", examples=["ok"])


class ReasonBody(Sent):
    """Reason with its explanation."""

    code: str = Field(examples=["too-dark"])
    text: str = Field(examples=["the face is too dark"])
    advice: str = Field(examples=["add light from the front"])


class StrangersPassingBody(Sent):
    """Share of strangers who would be accepted, with its proof."""

    estimate: float = Field(examples=[0.004])
    upper95: float = Field(description="Upper 95 % confidence bound.", examples=[0.0098])
    strangers: int = Field(description="People with whom the threshold was calibrated.", examples=[1000])
    enrolled: int = Field(description="People with whom each was compared.", examples=[15])
    images: int = Field(description="1, or the images of a visit, for which the bound is then.", examples=[1])
    text: str


class DecisionFields(Sent):
    """Decision about one face."""

    decision: Literal["accept", "reject", "no-decision"] = Field(examples=["accept"])
    person: str | None = Field(description="Name; only of an accepted face.", examples=["ada"])
    person_id: str | None = Field(examples=["3f9a01c47be2"])
    score: float | None = Field(description="Similarity to the most similar person.", examples=[0.71])
    threshold: float | None = Field(description="A face is accepted if its score is higher.", examples=[0.42])
    strangers_passing: StrangersPassingBody | None
    llr: float | None = Field(description="Natural logarithm of the likelihood ratio, genuine against stranger.")
    margin: float | None = Field(description="Distance to the second most similar person.", examples=[0.35])
    reasons: list[ReasonBody]
    box: list[float] | None = Field(
        description="Left, top, width and height in pixels.", examples=[[102, 80, 140, 180]]
    )
    space: str = Field(description="Embedding space, which is the model.", examples=["sha256:5c1f…"])
    calibration: str = Field(description="Id of the calibration.")


class DecisionBody(DecisionFields):
    """Decision about the main face."""

    request_id: str


class Decisions(Sent):
    """Decisions about all faces, the largest first."""

    decisions: list[DecisionFields]
    request_id: str


class Watched(Sent):
    """Main face of a frame, and the decision about its visit."""

    decision: DecisionFields | None = Field(description="Null until enough frames agree; repeated during the visit.")
    new: bool = Field(description="Whether this frame brought the decision, which is in the journal now.")
    box: list[float] | None = Field(description="Left, top, width and height of the face in this frame, in pixels.")
    reasons: list[ReasonBody] = Field(description="Why this frame does not count.")
    request_id: str


class FaceBody(Sent):
    """Detected face and its quality."""

    box: list[float] | None
    points: list[list[float]] | None = Field(description="Eyes, nose and corners of the mouth, in pixels.")
    quality: dict[str, Any]
    reasons: list[ReasonBody] = Field(description="Why it would not be judged; empty if it would.")


class Faces(Sent):
    """Detected faces, the largest first."""

    faces: list[FaceBody]
    request_id: str


class Calibrate(BaseModel):
    """Request for a new calibration."""

    model_config = ConfigDict(extra="forbid", strict=True)

    fpir: float | None = Field(
        None, gt=0, lt=1, description="Share of strangers who may pass; by default as before.", examples=[0.01]
    )


ERRORS: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}}


def form(
    files: dict[str, str], fields: dict[str, str] | None = None, *, optional: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the OpenAPI description of a form: the help of each file, a list if its name ends in ``s``, and field."""
    image = {"type": "string", "format": "binary"}
    properties: dict[str, Any] = {
        name: {"type": "array", "items": image, "description": text}
        if name.endswith("s")
        else image | {"description": text}
        for name, text in files.items()
    }
    properties |= {name: {"type": "string", "description": text} for name, text in (fields or {}).items()}
    required = [name for name in properties if name not in optional]
    schema = {"type": "object", "required": required, "properties": properties, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
