"""Routes for the door: detect, verify, identify and watch."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from fedfr.recognition.camera.voting import Seen
from fedfr.recognition.decision import REJECT, Decision, reasons_to_json
from fedfr.recognition.gallery.gallery_types import Person
from fedfr.recognition.photos.embedder import FaceObservation
from fedfr.recognition.photos.photo import RejectedPhoto
from fedfr.recognition.recognizer import Recognizer
from fedfr.recognition.service.body import Form, read_form
from fedfr.recognition.service.cameras import VOTES, WINDOW
from fedfr.recognition.service.errors import ApiError
from fedfr.recognition.service.models import DecisionBody, Decisions, Faces, Watched, form
from fedfr.recognition.service.state import (
    ServiceState,
    caller_of,
    person_of,
    request_id_of,
    sent_json,
    state_of,
)

__all__ = ["decide", "decisions_router", "form_of", "shown", "verified"]

PHOTO = "Image with the face: JPEG, PNG or WebP, at most 10 MiB and 40 megapixels."

_CAMERA = re.compile(r"[A-Za-z0-9._-]{1,64}")
_WATCH = f"""The main face is followed from frame to frame. Its visit has one decision, with one entry in the journal:
{VOTES} of its first {2 * VOTES - 1} frames that can be judged must agree. A visit ends {WINDOW:g} seconds after its
face was seen for the last time. Send one frame after another, at least one a second."""


async def form_of(request: Request) -> Form:
    """Return the form of a request."""
    return await read_form(request, state_of(request).limits, request.state.reserve)


def shown(decision: Decision, scope: str) -> dict[str, Any]:
    """Return the JSON values of a decision; without the scope ``admin``, numbers that help to probe are rounded."""
    content = decision.to_json()
    if scope != "admin":
        for name, digits in (("score", 2), ("threshold", 2), ("margin", 1), ("llr", 0)):
            if content[name] is not None:
                content[name] = round(content[name], digits)
    return content


async def decide(
    request: Request, operation: str, work: Callable[..., Decision | list[Decision]], *given: object, **named: object
) -> list[Decision]:
    """Return the decisions of ``work(…)``, counted for the lock-out and in the metrics."""
    state, caller = state_of(request), caller_of(request)
    state.lockout.check(caller.key)
    found = await state.read(work, *given, **named)
    decisions = [found] if isinstance(found, Decision) else found
    state.lockout.note(caller.key, decisions)
    _measure(state, operation, decisions)
    return decisions


async def verified(
    request: Request, recognizer: Recognizer, claimed: Callable[[], Person], photo: bytes
) -> list[Decision]:
    """Return the decision whether a photo shows the person whom ``claimed`` finds.

    A client without the scope ``admin`` does not learn who is enrolled: somebody unknown is rejected.
    """
    aligned, admin = state_of(request).aligned, caller_of(request).scope == "admin"

    def work() -> Decision:
        if admin:
            return recognizer.verify(claimed().name, photo, aligned=aligned)
        person_id = None
        with contextlib.suppress(ApiError):
            person_id = claimed().id
        return recognizer.verify_concealed(person_id, photo, aligned=aligned)

    return await decide(request, "verify", work)


def _measure(state: ServiceState, operation: str, decisions: list[Decision]) -> None:
    for decision in decisions:
        state.metrics.count("fedfr_decisions_total", operation=operation, outcome=decision.outcome)
        for reason in decision.reasons:
            state.metrics.count("fedfr_decision_reasons_total", operation=operation, reason=reason)


def decisions_router() -> APIRouter:
    """Return the routes, which need the scope ``door``."""
    router = APIRouter(prefix="/v1", tags=["door"])

    @router.post(
        "/detect",
        summary="Find faces and judge their quality",
        response_model=Faces,
        openapi_extra=form({"file": PHOTO}),
    )
    async def detect(request: Request) -> JSONResponse:
        state = state_of(request)
        recognizer, sent = state.ready(), await form_of(request)
        sent.only((), ("file",))
        faces = await state.read(_detect, recognizer, sent.file("file"), state.aligned)
        return JSONResponse({"faces": [face.to_json() for face in faces], "request_id": request_id_of(request)})

    @router.post(
        "/verify",
        summary="Decide whether the main face is the given person",
        response_model=DecisionBody,
        openapi_extra=form({"file": PHOTO}, {"person": "Id or name of an enrolled person."}),
    )
    async def verify(request: Request) -> JSONResponse:
        state = state_of(request)
        recognizer, sent = state.ready(), await form_of(request)
        sent.only(("person",), ("file",))
        photo, wanted = sent.file("file"), sent.text("person")

        decisions = await verified(request, recognizer, lambda: person_of(recognizer, wanted, by_name=True), photo)
        return _answer(request, decisions[0])

    @router.post(
        "/identify",
        summary="Decide who the main face is, or every face",
        response_model=DecisionBody | Decisions,
        openapi_extra=form({"file": PHOTO}, {"all": "`true`: decide for every face."}, optional=("all",)),
    )
    async def identify(request: Request) -> JSONResponse:
        state = state_of(request)
        recognizer, sent = state.ready(), await form_of(request)
        sent.only(("all",), ("file",))
        photo = sent.file("file")
        if not sent.flag("all"):
            (decision,) = await decide(request, "identify", recognizer.identify, photo, aligned=state.aligned)
            return _answer(request, decision)
        decisions = await decide(request, "identify", recognizer.identify_all, photo, aligned=state.aligned)
        scope = caller_of(request).scope
        return JSONResponse(
            {"decisions": [shown(each, scope) for each in decisions], "request_id": request_id_of(request)}
        )

    @router.post(
        "/watch",
        summary="Vote over the frames of a camera",
        description=_WATCH,
        response_model=Watched,
        openapi_extra=form({"file": PHOTO}, {"camera": "Name of the camera, of the client's choice."}),
    )
    async def watch(request: Request) -> JSONResponse:
        state, caller = state_of(request), caller_of(request)
        recognizer, sent = state.ready(), await form_of(request)
        sent.only(("camera",), ("file",))
        photo, camera = sent.file("file"), sent.text("camera")
        if not _CAMERA.fullmatch(camera):
            raise ApiError(
                422, "invalid", "camera: use 1 to 64 letters, digits, dots, dashes and underscores", {"field": "camera"}
            )
        state.lockout.check(caller.key)

        def work() -> tuple[Decision, Seen]:
            frame = recognizer.decide(photo, aligned=state.aligned)
            return frame, state.cameras.add(caller.key, camera, frame, recognizer.note)

        frame, seen = await state.read(work)
        # A visit is one attempt; it counts with its first rejected frame, whether a decision follows or not.
        again = any(other.outcome == REJECT for other in seen.counted[:-1])
        state.lockout.note(caller.key, seen.counted[-1:], again=again)
        _measure(state, "watch", [seen.outcome] if seen.new and seen.outcome is not None else [])
        return sent_json(
            request,
            {
                "decision": None if seen.outcome is None else shown(seen.outcome, caller.scope),
                "new": seen.new,
                "box": frame.box,
                "reasons": [] if frame.outcome == REJECT else reasons_to_json(frame.reasons),
            },
        )

    return router


def _detect(recognizer: Recognizer, photo: bytes, aligned: bool) -> list[FaceObservation]:
    try:
        return recognizer.detect(photo, aligned=aligned)
    except RejectedPhoto as rejected:
        raise ApiError(422, rejected.code, str(rejected)) from rejected


def _answer(request: Request, decision: Decision) -> JSONResponse:
    return JSONResponse({**shown(decision, caller_of(request).scope), "request_id": request_id_of(request)})
