"""Reading of request bodies in memory, within limits of size and time: forms with images, and JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from fedfr.core.files import parse_json
from fedfr.recognition.service.errors import ApiError
from fedfr.recognition.service.limits import ServiceLimits

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

__all__ = ["Form", "explained", "parse_model", "read_form", "read_json_body", "stream"]

Model = TypeVar("Model", bound=BaseModel)

FIELD_BYTES, FIELDS = 2048, 32


@dataclass
class Form:
    """Content of a form: text fields, and the bytes of each file with the name of its field."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[tuple[str, bytes]] = field(default_factory=list)

    def only(self, fields: Collection[str], files: Collection[str]) -> None:
        """Refuse fields and files of other names."""
        for kind, names, allowed in (
            ("field", list(self.fields), fields),
            ("file field", [name for name, _ in self.files], files),
        ):
            unknown = next((name for name in names if name not in allowed), None)
            if unknown is not None:
                raise ApiError(
                    422,
                    "unknown-field",
                    f"unknown {kind} {unknown[:64]!r}; allowed are {', '.join(sorted(allowed)) or 'none'}",
                )

    def text(self, name: str) -> str:
        """Return a text field that must be there."""
        if not self.fields.get(name, "").strip():
            raise ApiError(422, "missing-field", f"the field {name!r} is missing or empty", {"field": name})
        return self.fields[name].strip()

    def flag(self, name: str) -> bool:
        """Return a text field that is true or false, by default false."""
        value = self.fields.get(name, "false").strip().lower()
        if value not in {"true", "false"}:
            raise ApiError(422, "invalid", f"{name}: use true or false", {"field": name})
        return value == "true"

    def file(self, name: str) -> bytes:
        """Return the one file that must be there."""
        found = self.all_files(name)
        if len(found) > 1:
            raise ApiError(422, "too-many-files", f"send one file in {name!r}; {len(found)} were sent")
        return found[0]

    def all_files(self, name: str) -> list[bytes]:
        """Return the files of a field, at least one."""
        found = [data for field_name, data in self.files if field_name == name]
        if not found:
            raise ApiError(422, "missing-file", f"the file {name!r} is missing", {"field": name})
        return found


async def stream(request: Request, most: int, reserve: Callable[[int], None], seconds: float) -> AsyncIterator[bytes]:
    """Yield the body of a request; raises :class:`ApiError` if it is too large or too slow."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    size, deadline = 0, time.monotonic() + seconds
    chunks = request.stream()
    while True:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise ApiError(408, "too-slow", f"the request did not arrive within {seconds:g} seconds") from error
        except ClientDisconnect as error:
            raise ApiError(400, "incomplete", "the request ended early") from error
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        reserve(len(chunk))
        yield chunk


def _too_large(most: int) -> ApiError:
    return ApiError(413, "too-large", f"the request is larger than {most} bytes", {"bytes": most})


class _Collector:
    """Callbacks of the multipart parser."""

    def __init__(self, limits: ServiceLimits) -> None:
        self.form, self.complete = Form(), False
        self._limits = limits
        self._header, self._value = bytearray(), bytearray()
        self._disposition = b""
        self._name, self._is_file = "", False
        self._data = bytearray()

    def on_part_begin(self) -> None:
        self._disposition, self._data = b"", bytearray()
        self._header, self._value = bytearray(), bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def on_headers_finished(self) -> None:
        kind, options = parse_options_header(self._disposition.decode("latin-1"))
        if kind != b"form-data" or b"name" not in options:
            raise ApiError(400, "bad-form", "a part of the form has no name")
        self._name = options[b"name"].decode("utf-8", "replace")
        self._is_file = b"filename" in options
        if self._is_file and len(self.form.files) >= self._limits.files:
            raise ApiError(
                413, "too-many-files", f"at most {self._limits.files} files are allowed in one request",
                {"files": self._limits.files},
            )  # fmt: skip
        if not self._is_file and len(self.form.fields) >= FIELDS:
            raise ApiError(413, "too-many-fields", f"at most {FIELDS} fields are allowed in one request")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        most = self._limits.image_bytes if self._is_file else FIELD_BYTES
        if len(self._data) + end - start > most:
            raise ApiError(
                413, "too-large", f"{'a file' if self._is_file else 'a field'} is larger than {most} bytes",
                {"bytes": most},
            )  # fmt: skip
        self._data += data[start:end]

    def on_part_end(self) -> None:
        if self._is_file:
            self.form.files.append((self._name, bytes(self._data)))
        else:
            if self._name in self.form.fields:
                raise ApiError(422, "repeated-field", f"the field {self._name[:64]!r} was sent twice")
            try:
                self.form.fields[self._name] = self._data.decode("utf-8")
            except UnicodeDecodeError as error:
                raise ApiError(422, "invalid", f"the field {self._name[:64]!r} is not UTF-8") from error
        self._data = bytearray()

    def on_end(self) -> None:
        self.complete = True


async def read_form(request: Request, limits: ServiceLimits, reserve: Callable[[int], None]) -> Form:
    """Return the form of a request, held in memory; nothing is written to disk."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise ApiError(415, "wrong-type", "send multipart/form-data")
    made = _Collector(limits)
    callbacks: MultipartCallbacks = {
        "on_part_begin": made.on_part_begin,
        "on_header_field": made.on_header_field,
        "on_header_value": made.on_header_value,
        "on_header_end": made.on_header_end,
        "on_headers_finished": made.on_headers_finished,
        "on_part_data": made.on_part_data,
        "on_part_end": made.on_part_end,
        "on_end": made.on_end,
    }
    try:
        parser = MultipartParser(options[b"boundary"], callbacks)
        async for chunk in stream(request, limits.request_bytes, reserve, limits.body_seconds):
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise ApiError(400, "bad-form", "the multipart form is damaged") from error
    if not made.complete:
        raise ApiError(400, "bad-form", "the multipart form is incomplete")
    return made.form


async def read_json_body(request: Request, most: int, reserve: Callable[[int], None], seconds: float) -> Any:
    """Return the JSON value that a request contains."""
    kind, _ = parse_options_header(request.headers.get("content-type"))
    if kind != b"application/json" and not (kind.startswith(b"application/") and kind.endswith(b"+json")):
        raise ApiError(415, "wrong-type", "send application/json")
    content = bytearray()
    async for chunk in stream(request, most, reserve, seconds):
        content += chunk
    try:
        return parse_json(bytes(content), names_once=True)
    except ValueError as error:
        raise ApiError(400, "bad-json", "the body is not valid JSON") from error


def parse_model(model: type[Model], content: Any) -> Model:
    """Return ``content`` as a model; raises :class:`ApiError` that names the fields which are not valid."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ApiError(422, "invalid", *explained(error.errors())) from error


def explained(errors: Any) -> tuple[str, dict[str, Any]]:
    """Return one line and details about values that are not valid, without the values."""
    found = [
        {"field": ".".join(str(part) for part in each["loc"])[:100] or "body", "message": str(each["msg"])[:200]}
        for each in list(errors)[:10]
    ]
    first = found[0] if found else {"field": "body", "message": "it is not valid"}
    return f"{first['field']}: {first['message']}", {"fields": found}
