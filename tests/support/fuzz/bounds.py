"""Limits of memory and time, and allowed outcomes, of reading damaged input."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from fedfr.core.errors import FedfrError

__all__ = ["TooSlowError", "bounded", "refusal"]

SECONDS = 20
LONGEST = 3000


class TooSlowError(BaseException):
    """Not an Exception, so that code that catches those does not catch this."""


@contextmanager
def bounded(mebibytes: int) -> Iterator[None]:
    """Let this process take no more than so much memory on top of what it has; beyond, there is a MemoryError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (mebibytes << 20), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def refusal(read: Callable[[], object]) -> str | None:
    """Return the one-line error of ``read``, None if it succeeds; other exceptions fail the test."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TooSlowError

    old = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        read()
    except FedfrError as error:
        text = str(error)
        assert text
        assert "\n" not in text, text
        assert len(text) < LONGEST, f"{len(text)} characters: {text[:300]}"
        cause: BaseException | None = error
        while cause is not None:
            assert not isinstance(cause, MemoryError), f"more memory was asked for than there may be: {text}"
            cause = cause.__cause__ or cause.__context__
        return text
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    return None
