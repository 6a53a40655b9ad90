"""The ASGI application of the service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.routing import Match

from fedfr.recognition.service.body import explained
from fedfr.recognition.service.compreface import compreface_router
from fedfr.recognition.service.compreface_faces import faces_router
from fedfr.recognition.service.compreface_subjects import subjects_router
from fedfr.recognition.service.decisions_api import decisions_router
from fedfr.recognition.service.errors import ApiError, of_status
from fedfr.recognition.service.gallery_api import gallery_router, metrics_router
from fedfr.recognition.service.guard import Guard
from fedfr.recognition.service.models import ERRORS, Health
from fedfr.recognition.service.page_files import page_router
from fedfr.recognition.service.people_api import people_router
from fedfr.recognition.service.state import ServiceState, known_query, state_of

__all__ = ["create_app"]

_ABOUT = """Recognition of the people who are enrolled in one gallery.

Send a token as `Authorization: Bearer TOKEN`. The scope `door` may detect, verify, identify, watch, and read the
gallery and its calibration; the scope `admin` may do everything. Errors have the form
`{"error": {"code", "message", "details"}, "request_id"}`."""


def create_app(state: ServiceState, start: Callable[[], None] | None = None) -> FastAPI:
    """Return the application; ``start`` is called once when it begins to serve."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if start is not None:
            start()
        yield

    app = FastAPI(
        title="fedfr gallery",
        version="1",
        description=_ABOUT,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.service = state
    app.add_middleware(Guard, state=state)
    app.add_exception_handler(HTTPException, _refuse_status)
    app.add_exception_handler(RequestValidationError, _refuse_values)

    checks = [Depends(HTTPBearer(auto_error=False)), Depends(known_query)]
    app.include_router(_health_router(), responses=ERRORS)
    for router in (decisions_router(), people_router(), gallery_router(), metrics_router()):
        app.include_router(router, responses=ERRORS, dependencies=checks)
    for router in (compreface_router(), faces_router(), subjects_router()):
        app.include_router(router, dependencies=checks[:1])
    app.include_router(page_router())
    return app


async def _refuse_status(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    raise of_status(status, allow=_methods(request) if status == 405 else None) from None


def _methods(request: Request) -> str:
    """Return the methods of all routes of this path."""
    found = set()
    for method in ("DELETE", "GET", "HEAD", "POST", "PUT"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] == Match.FULL for route in request.app.routes):
            found.add(method)
    return ", ".join(sorted(found))


async def _refuse_values(_: Request, error: Exception) -> JSONResponse:
    errors = error.errors() if isinstance(error, RequestValidationError) else []
    raise ApiError(422, "invalid", *explained(errors)) from None


def _health_router() -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["operation"])

    @router.get("/health", summary="Report whether the service is ready", response_model=Health)
    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "starting" if state_of(request).recognizer is None else "ok"})

    return router
