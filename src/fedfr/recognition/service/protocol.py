"""HTTP/1.1 connections with time limits for slow clients, and a limit of their number."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from fedfr.recognition.service.access import is_loopback, network_of
from fedfr.recognition.service.limits import ServiceLimits

__all__ = ["TimedProtocol"]


class TimedProtocol(H11Protocol):
    """Connection that is closed if headers do not arrive, or a response is not read, in time."""

    limits = ServiceLimits()

    @classmethod
    def limited_by(cls, limits: ServiceLimits) -> type[TimedProtocol]:
        """Return the class for these limits."""
        return type("LimitedProtocol", (cls,), {"limits": limits})

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time for the headers of the first request."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections or self._too_many_of_one():
            transport.abort()
            return
        self._start(self.limits.header_seconds)

    def _too_many_of_one(self) -> bool:
        """Whether this client, if on another machine, has too many connections."""
        address = self.client[0] if self.client else ""
        if is_loopback(address):
            return False
        own = network_of(address)
        same = sum(other.client is not None and network_of(other.client[0]) == own for other in self.connections)
        return same > self.limits.connections_each

    def handle_events(self) -> None:
        """Give a request whose headers are complete the time for its response."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and self.cycle is not None and not self.cycle.response_complete:
            self._start(self.limits.response_seconds)

    def on_response_complete(self) -> None:
        """Start the time for the next request."""
        self._start(self.limits.keep_alive_seconds + self.limits.header_seconds)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _start(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self.transport.abort)
