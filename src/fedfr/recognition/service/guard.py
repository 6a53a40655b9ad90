"""Middleware around every request: request id, checks of the sender, security headers, errors, and metrics."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedfr.core.errors import FedfrError, InUseError, WriteError
from fedfr.recognition.service.access import network_of
from fedfr.recognition.service.compreface_forms import error_body
from fedfr.recognition.service.errors import ApiError, without_paths

if TYPE_CHECKING:
    from fedfr.recognition.service.state import ServiceState

__all__ = ["Guard"]

_log = logging.getLogger("fedfr.service")

_OPEN = frozenset({"/", "/favicon.ico", "/v1/health", "/v1/openapi.json"})
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DRAIN_SECONDS = 5.0
_LOGGED = frozenset({"locked-out", "tokens-unreadable"})

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}


class Guard:
    """ASGI middleware: nothing reaches the application that a check refuses, and no exception leaves it."""

    def __init__(self, app: ASGIApp, state: ServiceState) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        await _Exchange(scope, receive, send, self._state).run(self._app)


class _Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, state: ServiceState) -> None:
        self._scope, self._receive, self._send, self._state = scope, receive, send, state
        self._headers = Headers(scope=scope)
        given = self._headers.get("x-request-id", "")
        self._id = given if _ID.fullmatch(given) else secrets.token_hex(8)
        self._status, self._body_left, self._body_begun = 0, True, False

    async def run(self, app: ASGIApp) -> None:
        began = time.perf_counter()
        try:
            with self._state.budget.share() as reserve:
                self._admit()
                self._scope.setdefault("state", {}).update(request_id=self._id, reserve=reserve)
                await app(self._scope, self._receive_body, self._answer)
        except ApiError as error:
            await self._refuse(error)
        except ClientDisconnect:
            self._status = self._status or 499
        except FedfrError as error:
            await self._refuse(self._explained(error))
        except Exception:  # noqa: BLE001 - logged, and the client gets the request id
            _log.exception("request %s failed", self._id)
            await self._refuse(ApiError(500, "internal", "the service failed; its log has the request id"))
        route = getattr(self._scope.get("route"), "path", None) or "other"
        method = self._scope["method"] if self._scope["method"] in {"GET", "POST", "PUT", "DELETE"} else "other"
        self._state.metrics.request(route, method, self._status, time.perf_counter() - began)

    def _explained(self, error: FedfrError) -> ApiError:
        """Return the answer for what the gallery refuses."""
        message = without_paths(str(error), self._state.folder)
        if isinstance(error, InUseError):
            return ApiError(503, "busy", message, retry_after=2)
        if isinstance(error, WriteError):
            _log.error("request %s: %s", self._id, error)
            return ApiError(503, "cannot-write", message)
        return ApiError(409, "refused", message)

    def _admit(self) -> None:
        state, path = self._state, self._scope["path"]
        client = self._scope.get("client")
        address = client[0] if client else ""
        state.access.check_site(self._headers, self._scope["method"])
        if path in _OPEN or path.startswith("/page/"):
            key = f"address {network_of(address)}"
        else:
            caller = state.access.caller(self._headers, address)
            key = caller.key
            self._scope.setdefault("state", {})["caller"] = caller
        wait = state.rate.wait(key)
        if wait:
            raise ApiError(429, "too-many-requests", "too many requests; send fewer", retry_after=wait)

    async def _receive_body(self) -> Message:
        self._body_begun = True
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._body_left = False
        return message

    async def _answer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(raw=message.setdefault("headers", []))
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers["X-Request-ID"] = self._id
            headers.setdefault("Cache-Control", "no-store")
            if self._scope.get("scheme") == "https":
                headers["Strict-Transport-Security"] = "max-age=31536000"
        await self._send(message)

    async def _refuse(self, error: ApiError) -> None:
        if self._status:
            return  # the response has begun
        # What outsiders can cause is logged, but cannot fill the disk.
        if (error.status in {401, 403, 421} or error.code in _LOGGED) and not self._state.logged.wait(""):
            _log.warning("request %s is refused: %s (%s)", self._id, error.code, error)
        if error.code == "locked-out":
            self._state.metrics.count("fedfr_lockouts_total")
        headers = dict(error.headers)
        if self._scope["method"] in {"POST", "PUT", "PATCH", "DELETE"} and not await self._drained():
            headers["Connection"] = "close"
        content: Any = error.to_json(self._id)
        if self._scope["path"].startswith("/api/"):
            content = error_body(error)
        response = JSONResponse(content, error.status, headers)
        await response(self._scope, self._receive_body, self._answer)

    async def _drained(self) -> bool:
        """Read the rest of a small body, because a client that is still sending does not read an error."""
        if self._headers.get("expect") and not self._body_begun:
            return False  # the client waits for this answer before it sends anything
        left = self._state.limits.request_bytes
        try:
            async with asyncio.timeout(min(_DRAIN_SECONDS, self._state.limits.body_seconds)):
                while self._body_left and left > 0:
                    message = await self._receive_body()
                    left -= len(message.get("body", b""))
        except TimeoutError:
            return False
        return not self._body_left
