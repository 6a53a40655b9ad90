"""State of a running service."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from fedfr.core.errors import FedfrError
from fedfr.recognition.calibration.drift import WINDOW, Level
from fedfr.recognition.service.access import Access, Caller
from fedfr.recognition.service.cameras import Cameras
from fedfr.recognition.service.errors import ApiError
from fedfr.recognition.service.limits import Budget, RateLimit, ServiceLimits, Workers
from fedfr.recognition.service.lockout import Lockout
from fedfr.recognition.service.metrics import Metrics
from fedfr.recognition.service.rebuilding import RebuildJob, RebuildWork
from fedfr.recognition.service.tokens import Tokens

if TYPE_CHECKING:
    from fedfr.recognition.gallery.gallery_types import Person
    from fedfr.recognition.recognizer import Recognizer

__all__ = [
    "ServiceState",
    "caller_of",
    "known_query",
    "needs_admin",
    "person_of",
    "request_id_of",
    "sent_json",
    "state_of",
]

T = TypeVar("T")


class ServiceState:
    """What the handlers of requests share: the recognizer, once it is open, checks, limits and metrics."""

    def __init__(
        self,
        folder: Path,
        limits: ServiceLimits,
        *,
        names: Iterable[str] = (),
        local_only: bool = True,
        rebuild: RebuildWork | None = None,
    ) -> None:
        self.folder, self.limits = folder, limits
        self.access = Access(Tokens(folder), limits, names=names, local_only=local_only)
        self.rate = RateLimit(limits.rate, limits.burst)
        self.logged = RateLimit(1.0, 20.0)
        self.lockout = Lockout(limits)
        self.cameras = Cameras()
        self.budget = Budget(limits.body_bytes)
        self.metrics = Metrics()
        self.rebuild = RebuildJob(folder, rebuild)
        self.recognizer: Recognizer | None = None
        self._drift: tuple[tuple[int, int], Level] | None = None
        self.aligned = False
        self.workers = Workers(limits.workers, limits.queue)

    def open(self, recognizer: Recognizer) -> None:
        """Begin to serve with a recognizer; one without a detector takes aligned crops.

        Raises :class:`FedfrError` if the gallery cannot be written: its journal could not be kept.
        """
        if not recognizer.gallery.writable:
            raise FedfrError(
                f"{self.folder} cannot be written, and so its journal cannot be kept; make it writable for this user"
            )
        self.aligned = not recognizer.status().detects
        self.recognizer = recognizer

    def ready(self) -> Recognizer:
        """Return the recognizer; raises :class:`ApiError` while it is being opened."""
        if self.recognizer is None:
            raise ApiError(503, "starting", "the gallery is being opened; try again", retry_after=1)
        return self.recognizer

    def drift_level(self) -> Level:
        """Return the level of the drift, computed again when a window is full or the gallery has changed."""
        recognizer = self.ready()
        key = recognizer.gallery.revision, (recognizer.gallery.journal.newest + 1) // WINDOW
        if self._drift is None or self._drift[0] != key:
            self._drift = key, recognizer.drift().level
        return self._drift[1]

    async def read(self, work: Callable[..., T], *given: object, **named: object) -> T:
        """Return ``work(…)`` of a worker thread."""
        return await self.workers.run(work, *given, **named)

    async def change(self, work: Callable[..., T], *given: object, **named: object) -> T:
        """Return ``work(…)`` of a worker thread; changes of the gallery are made one after another."""
        return await self.workers.run_alone(work, *given, **named)


def state_of(request: Request) -> ServiceState:
    """Return the state of the service that handles a request."""
    found: ServiceState = request.app.state.service
    return found


def caller_of(request: Request) -> Caller:
    """Return the sender of a request, as the guard found it."""
    found: Caller = request.state.caller
    return found


def request_id_of(request: Request) -> str:
    """Return the id of a request."""
    found: Any = request.state.request_id
    return str(found)


async def needs_admin(request: Request) -> None:
    """Refuse a sender whose scope is not ``admin``."""
    if caller_of(request).scope != "admin":
        raise ApiError(403, "wrong-scope", "this needs a token of the scope admin")


async def known_query(request: Request) -> None:
    """Refuse a query parameter that the route does not have."""
    route = request.scope.get("route")
    known = {field.alias for field in route.dependant.query_params} if isinstance(route, APIRoute) else set()
    for name in request.query_params:
        if name not in known:
            raise ApiError(422, "unknown-parameter", f"unknown parameter {name[:64]!r} in the address")


def person_of(recognizer: Recognizer, wanted: str, *, by_name: bool = False) -> Person:
    """Return the person with an id, or with a name; raises :class:`ApiError` if there is none."""
    gallery = recognizer.gallery
    named = gallery.find(wanted) if by_name else None
    if named is not None:
        return named
    if gallery.holds(wanted):
        return gallery.person(wanted)
    raise ApiError(404, "unknown-person", "nobody enrolled has this id" + (" or name" if by_name else ""))


def sent_json(request: Request, content: dict[str, Any], status: int = 200) -> JSONResponse:
    """Return a response with the id of the request."""
    return JSONResponse({**content, "request_id": request_id_of(request)}, status)
