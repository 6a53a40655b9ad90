"""Requests and errors as CompreFace's clients send and read them."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from fastapi import Request

from fedfr.recognition.service.body import read_form, read_json_body
from fedfr.recognition.service.errors import ApiError
from fedfr.recognition.service.people_api import RESERVED
from fedfr.recognition.service.state import state_of

PREFIX = "/api/v1/recognition"

__all__ = ["PREFIX", "checked_subject", "error_body", "json_body", "number_of", "photo_of"]

# Numbers of CompreFace 1.2 (CommonExceptionCode.java).
_NO_FACE, _SEVERAL_FACES, _WRONG_FILE, _MISSING_PARAMETER, _MISSING_FILE = 28, 31, 21, 33, 34
_UNKNOWN_SUBJECT, _KNOWN_SUBJECT, _UNKNOWN_IMAGE, _WRONG_ARGUMENT = 42, 43, 44, 36

_NUMBERS = {
    "no-face": _NO_FACE,
    "several-faces": _SEVERAL_FACES,
    "unreadable": _WRONG_FILE,
    "too-large": _WRONG_FILE,
    "wrong-type": _WRONG_FILE,
    "missing-file": _MISSING_FILE,
    "missing-field": _MISSING_PARAMETER,
    "unknown-person": _UNKNOWN_SUBJECT,
    "unknown-image": _UNKNOWN_IMAGE,
    "person-exists": _KNOWN_SUBJECT,
    "reserved-name": _WRONG_ARGUMENT,
    "invalid": _WRONG_ARGUMENT,
}


def error_body(error: ApiError) -> dict[str, Any]:
    """Return an error as CompreFace's clients read it."""
    return {"message": str(error), "code": _NUMBERS.get(error.code, 0)}


async def photo_of(request: Request) -> bytes:
    """Return the image of a request: the file of a form, or base64 in JSON."""
    state = state_of(request)
    if not request.headers.get("content-type", "").lower().startswith("application/json"):
        return (await read_form(request, state.limits, request.state.reserve)).file("file")
    most = state.limits.image_bytes * 4 // 3 + 1024
    content = await read_json_body(request, most, request.state.reserve, state.limits.body_seconds)
    text = content.get("file") if isinstance(content, dict) else None
    if not isinstance(text, str):
        raise ApiError(400, "missing-file", "Required part file is missing")
    try:
        photo = base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(400, "unreadable", "Provided value is not Base64") from error
    if len(photo) > state.limits.image_bytes:
        raise ApiError(413, "too-large", f"the image is larger than {state.limits.image_bytes} bytes")
    return photo


def number_of(request: Request, name: str, default: int) -> int:
    """Return a whole number in the address."""
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ApiError(400, "invalid", f"{name} is not a number of at most 9 digits")
    return int(text)


async def json_body(request: Request) -> Any:
    """Return the JSON value that a request contains."""
    limits = state_of(request).limits
    return await read_json_body(request, limits.json_bytes, request.state.reserve, limits.body_seconds)


def checked_subject(subject: object) -> str:
    """Return the name of a person to enrol."""
    if not isinstance(subject, str) or not subject.strip():
        raise ApiError(400, "missing-field", "Required parameter subject is missing")
    if subject.strip().casefold() == RESERVED:
        raise ApiError(400, "reserved-name", f"nobody can be enrolled as {RESERVED}; use another name")
    return subject.strip()
