"""Limits of the service: sizes, times, requests per client, and places for inference."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread

from fedfr.recognition.service.errors import ApiError

__all__ = ["Budget", "RateLimit", "ServiceLimits", "Workers"]

T = TypeVar("T")


@dataclass(frozen=True)
class ServiceLimits:
    """Limits of the service; sizes in bytes, times in seconds.

    ``image_bytes`` and ``files`` limit the images of a request, ``request_bytes`` its body, ``body_bytes`` the bodies
    of all requests together. ``header_seconds`` and ``body_seconds`` limit how long a client may take to send a
    request, ``connections`` how many are open at once, and ``connections_each`` how many of
    one other machine. ``workers`` requests use the network at once, and ``queue``
    more wait for it. A client, which is a token or an address, may send ``burst`` requests at once and ``rate`` a
    second on average. ``rejects`` and ``rises`` of the score within ``window`` seconds lock a client out for
    ``lockout`` seconds, twice as long each time, up to ``longest_lockout``.
    """

    image_bytes: int = 10 << 20
    files: int = 20
    request_bytes: int = 64 << 20
    body_bytes: int = 192 << 20
    json_bytes: int = 64 << 10
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    response_seconds: float = 300.0
    keep_alive_seconds: float = 15.0
    stop_seconds: float = 30.0
    connections: int = 128
    connections_each: int = 32
    workers: int = 2
    queue: int = 16
    rate: float = 20.0
    burst: float = 60.0
    failed_rate: float = 0.2
    failed_burst: float = 10.0
    rejects: int = 120
    rises: int = 12
    window: float = 60.0
    lockout: float = 30.0
    longest_lockout: float = 900.0


class RateLimit:
    """Token bucket per client; at most ``clients`` of them are remembered, the latest ones.

    >>> from fedfr.recognition.service.limits import RateLimit
    >>> limit = RateLimit(rate=1.0, burst=2.0, clock=lambda: 0.0)
    >>> [limit.wait("camera") for _ in range(3)]
    [0.0, 0.0, 1.0]
    """

    def __init__(
        self, rate: float, burst: float, *, clients: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._clients, self._clock = rate, burst, clients, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Count a request and return 0 if the client may send it now, else the seconds until it may."""
        now = self._clock()
        left, since = self._left.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        allowed = left >= 1.0
        self._left[client] = (left - 1.0 if allowed else left, now)
        while len(self._left) > self._clients:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1.0 - left) / self._rate


class Budget:
    """Memory for the bodies of all requests together."""

    def __init__(self, most: int) -> None:
        self._most, self.used = most, 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that reserves bytes until the block ends; it raises :class:`ApiError` if none are left."""
        mine = 0

        def reserve(count: int) -> None:
            nonlocal mine
            if self.used + count > self._most:
                raise ApiError(503, "busy", "the service receives too much data at once; try again", retry_after=1)
            self.used += count
            mine += count

        try:
            yield reserve
        finally:
            self.used -= mine


class Workers:
    """Threads that do the blocking work of requests, and a bounded queue before them."""

    def __init__(self, workers: int, queue: int) -> None:
        self._limiter = anyio.CapacityLimiter(workers)
        self._alone = anyio.Lock()
        self._most = workers + queue
        self.active = 0

    async def run(self, work: Callable[..., T], *given: object, **named: object) -> T:
        """Return ``work(…)`` of a worker thread; raises :class:`ApiError` if the queue is full.

        A thread cannot be interrupted: if the client leaves, its place is free only when the work is done.
        """
        async with self._place():
            return await self._in_thread(work, *given, **named)

    async def run_alone(self, work: Callable[..., T], *given: object, **named: object) -> T:
        """Return ``work(…)`` as :meth:`run`, but after all earlier calls of this method have ended."""
        async with self._place(), self._alone:
            return await self._in_thread(work, *given, **named)

    async def _in_thread(self, work: Callable[..., T], *given: object, **named: object) -> T:
        return await anyio.to_thread.run_sync(partial(work, *given, **named), limiter=self._limiter)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self.active >= self._most:
            raise ApiError(503, "busy", "too many requests wait for the network; try again", retry_after=1)
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
