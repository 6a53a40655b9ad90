"""Bodies of requests: read in memory within their limits, or refused in one line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from fastapi import Request
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Message
from tests.support.fuzz.mutator import Mutator

from fedfr.recognition.service.body import Form, parse_model, read_form, read_json_body
from fedfr.recognition.service.errors import ApiError
from fedfr.recognition.service.limits import Budget, ServiceLimits
from fedfr.recognition.service.models import Calibrate

LIMITS = ServiceLimits(image_bytes=2000, files=3, request_bytes=8000, body_seconds=0.2)
FORM = "multipart/form-data; boundary=edge"


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    disposition = f'form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
    return f"--edge\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"


WHOLE = (
    part("name", "ada ü".encode())
    + part("files", bytes(range(256)), "a.jpg")
    + part("files", b"", "")
    + b"--edge--\r\n"
)


def request(
    chunks: Sequence[bytes], kind: str | None = FORM, length: str | None = None, *, ends: bool = True
) -> Request:
    """A request whose body comes in these chunks; without an end, nothing more comes."""
    left = list(chunks)
    headers = [(b"content-type", kind.encode())] if kind is not None else []
    headers += [(b"content-length", length.encode())] if length is not None else []

    async def receive() -> Message:
        if not left and not ends:
            await asyncio.sleep(3600)
        content = left.pop(0) if left else b""
        return {"type": "http.request", "body": content, "more_body": bool(left) or not ends}

    return Request({"type": "http", "method": "POST", "headers": headers, "query_string": b"", "path": "/"}, receive)


def read(made: Request, budget: Budget | None = None) -> Form:
    with (budget or Budget(1 << 20)).share() as reserve:
        return asyncio.run(read_form(made, LIMITS, reserve))


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_a_form_is_the_same_in_any_chunks(size: int) -> None:
    form = read(request([WHOLE[start : start + size] for start in range(0, len(WHOLE), size)]))
    assert form.fields == {"name": "ada ü"}
    assert form.files == [("files", bytes(range(256))), ("files", b"")]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (part("file", bytes(2001), "a.jpg") + b"--edge--\r\n", 413, "too-large"),
        (part("file", b"", "a") * 4 + b"--edge--\r\n", 413, "too-many-files"),
        (part("a", bytes(3000)) + b"--edge--\r\n", 413, "too-large"),
        (b"".join(part(f"a{number}", b"1") for number in range(33)) + b"--edge--\r\n", 413, "too-many-fields"),
        (part("file", bytes(2000), "a") * 3 + part("a", bytes(2000)), 413, "too-large"),
        (WHOLE[:-10], 400, "bad-form"),
        (WHOLE[:-30], 400, "bad-form"),
        (b"", 400, "bad-form"),
        (b"--other\r\n\r\n", 400, "bad-form"),
        (b"--edge\r\n\r\nno name\r\n--edge--\r\n", 400, "bad-form"),
        (b"--edge\r\nContent-Disposition: attachment\r\n\r\nx\r\n--edge--\r\n", 400, "bad-form"),
        (part("a", b"1") + part("a", b"2") + b"--edge--\r\n", 422, "repeated-field"),
        (part("a", b"\xff\xfe") + b"--edge--\r\n", 422, "invalid"),
        (b"--edge\r\n" + b"X: y\r\n" * 1000 + b"\r\nx\r\n--edge--\r\n", 400, "bad-form"),
    ],
)
def test_forms_beyond_a_limit_are_refused(body: bytes, status: int, code: str) -> None:
    budget = Budget(1 << 20)
    with pytest.raises(ApiError) as refused:
        read(request([body[start : start + 1000] for start in range(0, len(body), 1000)]), budget)
    assert (refused.value.status, refused.value.code) == (status, code)
    assert budget.used == 0


def test_a_declared_length_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ApiError, match="larger than 8000 bytes"):
        read(request([], length="8001", ends=False))


def test_a_body_that_does_not_arrive_is_refused() -> None:
    with pytest.raises(ApiError) as refused:
        read(request([WHOLE[:50]], ends=False))
    assert (refused.value.status, refused.value.code) == (408, "too-slow")


@pytest.mark.parametrize("kind", [None, "", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded"])
def test_other_types_are_refused(kind: str | None) -> None:
    with pytest.raises(ApiError) as refused:
        read(request([WHOLE], kind))
    assert refused.value.status == 415


def test_all_bodies_together_have_a_limit() -> None:
    budget = Budget(len(WHOLE) + 100)
    with budget.share() as reserve:
        reserve(200)
        with pytest.raises(ApiError) as refused:
            read(request([WHOLE]), budget)
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "1")
        assert budget.used == 200
    assert read(request([WHOLE]), budget).fields == {"name": "ada ü"}
    assert budget.used == 0


def refusal(body: bytes) -> ApiError | None:
    try:
        read(request([body[:90], body[90:]]))
    except ApiError as error:
        return error
    return None


def test_damaged_forms_are_read_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mutator, refused = Mutator(19), 0
    for _ in range(600):
        body = mutator.either(WHOLE, [WHOLE])
        refused += (error := refusal(body)) is not None
        assert error is None or (400 <= error.status < 500 and str(error).isprintable())
    assert 100 < refused < 600
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        (b"{", 400, "bad-json"),
        (b"[" * 30_000, 400, "bad-json"),
        (b"\xff", 400, "bad-json"),
        (b"9" * 5000, 400, "bad-json"),
        (b'{"fpir": 0.1, "fpir": 0.2}', 400, "bad-json"),
        (b" " * 70_000, 413, "too-large"),
        (b"[]", 422, "invalid"),
        (b'{"fpir": "0.1"}', 422, "invalid"),
        (b'{"fpir": 2}', 422, "invalid"),
        (b'{"fpir": NaN}', 422, "invalid"),
        (b'{"fpir": true}', 422, "invalid"),
        (b'{"fpr": 0.1}', 422, "invalid"),
    ],
)
def test_wrong_json_is_refused(text: bytes, status: int, code: str) -> None:
    with pytest.raises(ApiError) as refused:
        parse_model(Calibrate, _json(text))
    assert (refused.value.status, refused.value.code) == (status, code)


@settings(max_examples=40)
@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner))
)
def test_any_json_is_a_request_or_refused(content: object) -> None:
    with contextlib.suppress(ApiError):
        found = parse_model(Calibrate, content)
        assert found.fpir is None or 0 < found.fpir < 1


def _json(text: bytes) -> object:
    with Budget(1 << 20).share() as reserve:
        return asyncio.run(read_json_body(request([text], "application/json"), 64 << 10, reserve, 1.0))
