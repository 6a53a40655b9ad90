"""Files of the web page, held in memory and sent with an ETag."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from fedfr.recognition.service.errors import of_status

__all__ = ["page_router"]

_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class _File:
    content: bytes
    kind: str
    etag: str


def _load() -> dict[str, _File]:
    found = {}
    for entry in files("fedfr.recognition.service").joinpath("page").iterdir():
        if not entry.is_file() or entry.name.startswith("."):
            continue
        content = entry.read_bytes()
        suffix = f".{entry.name.rpartition('.')[2]}"
        kind = _TYPES.get(suffix) or mimetypes.guess_type(entry.name)[0] or "application/octet-stream"
        kind += "; charset=utf-8" if kind.startswith("text/") else ""
        found[entry.name] = _File(content, kind, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found


def page_router() -> APIRouter:
    """Return the routes ``/`` and ``/page/NAME``."""
    router, pages = APIRouter(include_in_schema=False), _load()

    def send(name: str, request: Request) -> Response:
        page = pages.get(name)
        if page is None:
            raise of_status(404)
        headers = {"ETag": page.etag, "Cache-Control": "no-cache"}
        known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
        if page.etag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        return Response(page.content, media_type=page.kind, headers=headers)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return send("index.html", request)

    @router.api_route("/page/{name}", methods=["GET", "HEAD"])
    async def page(name: str, request: Request) -> Response:
        return send(name, request)

    return router
