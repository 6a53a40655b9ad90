"""Errors of the service in one format: ``{"error": {code, message, details}, "request_id"}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError

__all__ = ["ApiError", "of_status", "without_paths"]

_PATH = re.compile(r"(?<![\w.:/])~?/(?:[^\s/:;,'\"]+/)*(?=[^\s/:;,'\"])")

_BY_STATUS = {
    400: ("bad-request", "the request is not valid"),
    404: ("not-found", "there is no such resource; GET /v1/openapi.json lists them"),
    405: ("method-not-allowed", "the resource does not have this method"),
    422: ("invalid", "the request is not valid"),
}


class ApiError(FedfrError):
    """Answer other than success: HTTP status, a code for programs, one line for people, and details.

    >>> from fedfr.recognition.service.errors import ApiError
    >>> ApiError(404, "unknown-person", "nobody has this id").to_json("9f2c")
    {'error': {'code': 'unknown-person', 'message': 'nobody has this id', 'details': {}}, 'request_id': '9f2c'}
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        *,
        retry_after: float | None = None,
        allow: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.details = status, code, dict(details or {})
        self.headers = {}
        if retry_after is not None:
            self.headers["Retry-After"] = str(max(1, round(retry_after + 0.499)))
        if allow is not None:
            self.headers["Allow"] = allow
        if status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"

    def to_json(self, request_id: str) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "error": {"code": self.code, "message": str(self), "details": self.details},
            "request_id": request_id,
        }


def of_status(status: int, *, allow: str | None = None) -> ApiError:
    """Return the error for a status that the framework set."""
    code, message = _BY_STATUS.get(status, ("refused", "the request is refused"))
    return ApiError(status, code, message, allow=allow)


def without_paths(message: str, *folders: Path) -> str:
    """Return a message without the folders of the paths in it: clients need not know where files are.

    >>> from fedfr.recognition.service.errors import without_paths
    >>> without_paths("/srv/galleries/door/gallery.db is locked by another process; stop it")
    'gallery.db is locked by another process; stop it'
    """
    for folder in folders:
        for text in {str(folder), str(folder.absolute()), str(folder.resolve())} - {"", ".", "/"}:
            message = message.replace(f"{text}/", "").replace(text, folder.resolve().name)
    return _PATH.sub("", message)
