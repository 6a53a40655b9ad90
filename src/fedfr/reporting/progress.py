"""Progress of long work: a live line with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

__all__ = ["PlainProgress", "Progress", "Silent", "TerminalProgress"]


class Progress(Protocol):
    """Told of every step of a named piece of work; ``total`` is the number of steps in all."""

    def update(self, work: str, done: int, total: int, detail: str = "") -> None:
        """``done`` of ``total`` steps of ``work`` are finished."""
        ...

    def note(self, text: str) -> None:
        """Say one line."""
        ...

    def event(self, event: Mapping[str, Any]) -> None:
        """An event of ``metrics.jsonl`` with its ``seed`` and ``method``, or an ``evaluation`` with its ``rows``."""
        ...


class Silent:
    """Says nothing."""

    def update(self, work: str, done: int, total: int, detail: str = "") -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""

    def event(self, event: Mapping[str, Any]) -> None:
        """Ignore."""


class PlainProgress:
    """One line when work begins, at most one every ``interval`` seconds, and one when it ends."""

    def __init__(self, stream: TextIO, interval: float = 10.0) -> None:
        self._stream = stream
        self._interval = interval
        self._first: dict[str, tuple[float, int]] = {}
        self._said: dict[str, float] = {}

    def update(self, work: str, done: int, total: int, detail: str = "") -> None:
        """Print where the work stands, with an estimate of the time left."""
        now = time.monotonic()
        since, before = self._first.setdefault(work, (now, done))
        if done < total and now - self._said.get(work, -self._interval) < self._interval:
            return
        self._said[work] = now
        left = ""
        if before < done < total:
            left = f", about {_duration((now - since) / (done - before) * (total - done))} left"
        self.note(f"{work}: {done}/{total}{left}{f' ({detail})' if detail else ''}")

    def note(self, text: str) -> None:
        """Print one line."""
        print(text, file=self._stream, flush=True)

    def event(self, event: Mapping[str, Any]) -> None:
        """Print nothing: what people need of it is in :meth:`update`."""


def _duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class TerminalProgress:
    """A bar per piece of work; a context manager, so that the terminal is always given back."""

    def __init__(self) -> None:
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, work: str, done: int, total: int, detail: str = "") -> None:
        """Move the bar."""
        if work not in self._tasks:
            self._tasks[work] = self._bars.add_task(work, total=total, detail=detail)
        self._bars.update(self._tasks[work], completed=done, total=total, detail=detail)

    def note(self, text: str) -> None:
        """Print one line above the bars."""
        self._bars.console.print(text, highlight=False, markup=False)

    def event(self, event: Mapping[str, Any]) -> None:
        """Show nothing: what people need of it is in :meth:`update`."""
