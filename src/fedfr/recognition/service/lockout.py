"""Lock-out of clients that try to find a face that is accepted by watching how scores change."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fedfr.recognition.decision import REJECT, Decision
from fedfr.recognition.service.errors import ApiError
from fedfr.recognition.service.limits import ServiceLimits

__all__ = ["Lockout"]


@dataclass
class _Attempts:
    rejects: deque[float] = field(default_factory=deque)
    rises: deque[float] = field(default_factory=deque)
    best: float = float("-inf")
    until: float = 0.0
    locks: int = 0
    latest: float = 0.0


class Lockout:
    """Refuse a client after too many rejected faces, or after a series of ever higher scores.

    An accepted face does not clear the count: a client could send its own face in between.
    """

    def __init__(
        self, limits: ServiceLimits, clock: Callable[[], float] = time.monotonic, *, clients: int = 10_000
    ) -> None:
        self._limits, self._clock, self._clients = limits, clock, clients
        self._attempts: OrderedDict[str, _Attempts] = OrderedDict()

    def check(self, client: str) -> None:
        """Raise :class:`ApiError` if the client is locked out."""
        left = self._of(client).until - self._clock()
        if left > 0:
            raise ApiError(
                429,
                "locked-out",
                "too many attempts were rejected; wait, and try again",
                retry_after=left,
            )

    def note(self, client: str, decisions: Iterable[Decision], *, again: bool = False) -> None:
        """Count the decisions for a client; with ``again``, they belong to an attempt that is counted already.

        Their scores are watched all the same.
        """
        now, limits = self._clock(), self._limits
        attempts = self._of(client)
        _forget(attempts, now - limits.window)
        for decision in decisions:
            if decision.outcome != REJECT:
                continue
            if not again:
                attempts.rejects.append(now)
            if decision.score is not None and decision.score > attempts.best:
                attempts.rises.append(now)
                attempts.best = decision.score
        if len(attempts.rejects) > limits.rejects or len(attempts.rises) > limits.rises:
            attempts.until = now + min(limits.lockout * 2**attempts.locks, limits.longest_lockout)
            attempts.locks = min(attempts.locks + 1, 20)
            attempts.rejects.clear()
            attempts.rises.clear()
            attempts.best = float("-inf")

    def _of(self, client: str) -> _Attempts:
        now = self._clock()
        attempts = self._attempts.pop(client, None) or _Attempts()
        if now - max(attempts.latest, attempts.until) > self._limits.longest_lockout:
            attempts = _Attempts()
        attempts.latest = now
        self._attempts[client] = attempts
        while len(self._attempts) > self._clients:
            self._attempts.popitem(last=False)
        return attempts


def _forget(attempts: _Attempts, before: float) -> None:
    for times in (attempts.rejects, attempts.rises):
        while times and times[0] < before:
            times.popleft()
    if not attempts.rises:
        attempts.best = float("-inf")
