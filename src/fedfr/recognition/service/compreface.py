"""Adapter with the recognition endpoints of CompreFace, for programs that are written for it.

An accepted face has a similarity of at least 0.9. Strangers, and faces that cannot be judged, are the subject
``unknown`` with similarity 0: some clients read the first subject of every face without checking that there is one.
Errors have the form ``{"message", "code"}`` with CompreFace's numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from fedfr.recognition.decision import REASONS, Decision
from fedfr.recognition.service.compreface_faces import find_face
from fedfr.recognition.service.compreface_forms import PREFIX, number_of, photo_of
from fedfr.recognition.service.decisions_api import decide, verified
from fedfr.recognition.service.errors import ApiError
from fedfr.recognition.service.people_api import RESERVED
from fedfr.recognition.service.state import caller_of, state_of

__all__ = ["compreface_router"]

_UNUSABLE = frozenset({"not-calibrated", "settings-changed", "space-changed"})
_NO_PHOTO = frozenset({"unreadable", "too-large"})


def compreface_router() -> APIRouter:
    """Return the routes for decisions, which need the scope ``door``."""
    router = APIRouter(prefix=PREFIX, include_in_schema=False)

    @router.post("/recognize")
    async def recognize(request: Request) -> JSONResponse:
        state = state_of(request)
        recognizer, photo, scope = state.ready(), await photo_of(request), caller_of(request).scope
        results = []
        for each in await _judge(request, "identify", recognizer.identify_all, photo, aligned=state.aligned):
            subject = {"subject": RESERVED, "similarity": 0.0}
            if each.accepted:
                subject = {"subject": str(each.person), "similarity": _similarity(each, scope)}
            results.append({"box": _box(each), "subjects": [subject]})
        return _results(request, results)

    @router.post("/faces/{image_id}/verify")
    async def verify(image_id: str, request: Request) -> JSONResponse:
        state = state_of(request)
        recognizer, photo, scope = state.ready(), await photo_of(request), caller_of(request).scope

        found = await verified(request, recognizer, lambda: find_face(recognizer, image_id)[0], photo)
        (each,) = _judged(request, found)
        similarity = _similarity(each, scope) if each.accepted else 0.0
        subject = each.person if each.accepted else RESERVED
        return _results(request, [{"box": _box(each), "subject": subject, "similarity": similarity}])

    return router


def _similarity(decision: Decision, scope: str) -> float:
    """Return 0.9 at the threshold, and up to 1 above it."""
    assert decision.score is not None
    assert decision.threshold is not None
    above = max(0.0, decision.score - decision.threshold)
    return round(0.9 + 0.1 * above / (above + 0.2), 5 if scope == "admin" else 2)


def _box(decision: Decision) -> dict[str, float | int]:
    """Return the corners of a face; an aligned crop is all face."""
    left, top, width, height = decision.box or (0.0, 0.0, 112.0, 112.0)
    return {
        "probability": 1.0,
        "x_min": max(0, math.floor(left)),
        "y_min": max(0, math.floor(top)),
        "x_max": math.ceil(left + width),
        "y_max": math.ceil(top + height),
    }


async def _judge(
    request: Request, operation: str, work: Callable[..., Decision | list[Decision]], *given: object, **named: object
) -> list[Decision]:
    """Return the decisions for at least one face."""
    return _judged(request, await decide(request, operation, work, *given, **named))


def _judged(request: Request, decisions: list[Decision]) -> list[Decision]:
    limit = number_of(request, "limit", 0)
    for code in decisions[0].reasons:
        if code in _UNUSABLE:
            raise ApiError(409, code, "the gallery is not ready for decisions; calibrate or rebuild it")
        if code in _NO_PHOTO:
            raise ApiError(400, code, f"{REASONS[code].text}; {REASONS[code].advice}")
    faces = [each for each in decisions if "no-face" not in each.reasons]
    if not faces:
        raise ApiError(400, "no-face", "No face is found in the given image")
    return faces[:limit] if limit else faces


def _results(request: Request, results: Sequence[dict[str, Any]]) -> JSONResponse:
    content: dict[str, Any] = {"result": list(results)}
    if request.query_params.get("status", "").lower() == "true":
        content["plugins_versions"] = {"calculator": "fedfr", "detector": "YuNet"}
    return JSONResponse(content)
