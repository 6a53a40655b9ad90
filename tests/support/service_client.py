"""Client that calls the application of the service directly, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from fastapi import FastAPI
from pydantic import BaseModel

from fedfr.recognition.service.models import ErrorBody

__all__ = ["ServiceClient", "checked", "error"]

T = TypeVar("T")


class ServiceClient:
    """Calls from one address with a token or none; an exception in the application is raised."""

    def __init__(
        self, app: FastAPI, token: str = "", *, address: str = "127.0.0.1", host: str = "127.0.0.1:8080"
    ) -> None:
        self._runner = asyncio.Runner()
        transport = httpx.ASGITransport(app, client=(address, 40000))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.AsyncClient(transport=transport, base_url=f"http://{host}", headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    def __call__(self, method: str, path: str, **given: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, path, **given))

    def get(self, path: str, **given: Any) -> httpx.Response:
        return self("GET", path, **given)

    def post(self, path: str, **given: Any) -> httpx.Response:
        return self("POST", path, **given)

    def together(self, calls: Sequence[Callable[[httpx.AsyncClient], Awaitable[T]]]) -> list[T]:
        """Results of calls made at the same time."""

        async def run() -> list[T]:
            return list(await asyncio.gather(*(call(self._client) for call in calls)))

        return self._runner.run(run())


def checked(response: httpx.Response, model: type[BaseModel], status: int = 200) -> dict[str, Any]:
    """Content of a response that has the documented form."""
    assert response.status_code == status, response.text
    content: dict[str, Any] = response.json()
    model.model_validate(content)
    return content


def error(response: httpx.Response, status: int) -> str:
    return str(checked(response, ErrorBody, status)["error"]["code"])
