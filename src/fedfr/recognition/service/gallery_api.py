"""Routes for the gallery: calibration, rebuild, journal, drift and metrics."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from fedfr.recognition.calibration.strangers import stranger_notices
from fedfr.recognition.service.body import parse_model, read_json_body
from fedfr.recognition.service.errors import ApiError
from fedfr.recognition.service.gallery_models import (
    CalibrationBody,
    DriftBody,
    GalleryBody,
    JournalBody,
    NewCalibration,
    RebuildBody,
)
from fedfr.recognition.service.metrics import gauges
from fedfr.recognition.service.models import Calibrate
from fedfr.recognition.service.state import caller_of, needs_admin, sent_json, state_of

__all__ = ["gallery_router", "metrics_router"]

_JSON_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": Calibrate.model_json_schema()}},
    }
}


def gallery_router() -> APIRouter:
    """Return the routes; all but two need the scope ``admin``."""
    router = APIRouter(prefix="/v1")
    admin: dict[str, Any] = {"tags": ["gallery"], "dependencies": [Depends(needs_admin)]}

    @router.get("/gallery", summary="Describe the gallery", response_model=GalleryBody, tags=["door"])
    async def gallery(request: Request) -> JSONResponse:
        state = state_of(request)
        recognizer = state.ready()
        status, drift = await state.read(lambda: (recognizer.status(), state.drift_level()))
        content, scope = status.to_json(), caller_of(request).scope
        if scope != "admin":
            hidden = stranger_notices(status.calibration) if status.calibration else []
            content |= {
                "needs_photo": len(status.waiting),
                "notices": [notice for notice in status.notices if notice not in hidden],
                "calibration": _for_doors(content["calibration"]),
            }
        return sent_json(request, {**content, "drift": drift, "scope": scope})

    @router.get(
        "/calibration",
        summary="Describe thresholds and rates",
        response_model=CalibrationBody,
        tags=["door"],
    )
    async def calibration(request: Request) -> JSONResponse:
        state = state_of(request)
        found = await state.read(state.ready().calibration)
        if found is None:
            raise ApiError(404, "not-calibrated", "there is no threshold for this gallery yet; enrol people first")
        content = found.summary()
        return sent_json(request, content if caller_of(request).scope == "admin" else _for_doors(content))

    @router.post(
        "/calibration",
        summary="Calibrate the thresholds",
        response_model=NewCalibration,
        **admin,
        openapi_extra=_JSON_BODY,
    )
    async def calibrate(request: Request) -> JSONResponse:
        state = state_of(request)
        limits = state.limits
        content = await read_json_body(request, limits.json_bytes, request.state.reserve, limits.body_seconds)
        wanted = parse_model(Calibrate, content)
        found = await state.change(state.ready().calibrate, wanted.fpir)
        return sent_json(request, {"calibration": None if found is None else found.summary()})

    @router.get(
        "/rebuild",
        summary="Describe the latest rebuild",
        response_model=RebuildBody,
        **admin,
    )
    async def rebuild(request: Request) -> JSONResponse:
        return sent_json(request, state_of(request).rebuild.to_json())

    @router.post(
        "/rebuild",
        summary="Change to a new model",
        response_model=RebuildBody,
        status_code=202,
        **admin,
    )
    async def start_rebuild(request: Request) -> JSONResponse:
        state = state_of(request)
        return sent_json(request, state.rebuild.start(state.ready()), 202)

    @router.get(
        "/journal",
        summary="Check the journal and list its latest entries",
        response_model=JournalBody,
        **admin,
    )
    async def journal(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> JSONResponse:
        state = state_of(request)
        check, found = await state.read(state.ready().gallery.journal.verified_entries, limit)
        return sent_json(request, {"check": check.to_json(), "entries": [entry.to_json() for entry in found]})

    @router.get(
        "/drift",
        summary="Compare recent scores with the calibration",
        response_model=DriftBody,
        **admin,
    )
    async def drift(request: Request) -> JSONResponse:
        state = state_of(request)
        return sent_json(request, (await state.read(state.ready().drift)).to_json())

    return router


def _for_doors(calibration: Any) -> Any:
    """Return a calibration without the thresholds and the attraction of single people."""
    if calibration is None:
        return None
    return {name: value for name, value in calibration.items() if name not in {"verify", "attracting"}}


def metrics_router() -> APIRouter:
    """Return the route of the metrics."""
    router = APIRouter(tags=["operation"])

    @router.get("/metrics", summary="Metrics in the text format of Prometheus", response_class=Response)
    async def metrics(request: Request) -> Response:
        state = state_of(request)
        found: dict[str, Any] = {}
        if state.recognizer is not None:
            # Not behind the queue: it is to be seen when the queue is full.
            found = (await run_in_threadpool(state.recognizer.status)).to_json()
        promise = (found.get("calibration") or {}).get("strangers_passing") or {}
        values = {
            "fedfr_ready": ("Whether the gallery is open.", float(state.recognizer is not None)),
            "fedfr_enrolled": ("Enrolled people.", found.get("enrolled")),
            "fedfr_strangers": ("Strangers of the calibration.", promise.get("strangers")),
            "fedfr_promised_rate": ("Upper 95 % bound of the share of strangers who pass.", promise.get("upper95")),
            "fedfr_waiting_requests": ("Requests that use the network or wait for it.", float(state.workers.active)),
            "fedfr_body_bytes": ("Memory of the bodies of all requests.", float(state.budget.used)),
        }
        lines = [*state.metrics.text(), *gauges(values)]
        return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4; charset=utf-8")

    return router
