"""Progress of long-running work: bars on a terminal, lines in a notebook, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column

__all__ = [
    "NotebookProgress",
    "PlainProgress",
    "Progress",
    "Silent",
    "TerminalProgress",
    "automatic_progress",
    "progress_or_default",
]

MOST_FINISHED = 4


class Progress(Protocol):
    """Receiver of progress: steps of named work, notes and events."""

    def update(self, work: str, done: int, total: int, detail: str = "", unit: str = "") -> None:
        """Report that ``done`` of ``total`` steps of ``work`` are finished; ``unit`` is what a step is."""
        ...

    def note(self, text: str) -> None:
        """Report one line of text."""
        ...

    def event(self, event: Mapping[str, Any]) -> None:
        """Report an event of ``metrics.jsonl`` with ``seed`` and ``method``, or an ``evaluation`` with ``rows``."""
        ...


class Silent:
    """Progress that is not shown."""

    def update(self, work: str, done: int, total: int, detail: str = "", unit: str = "") -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""

    def event(self, event: Mapping[str, Any]) -> None:
        """Ignore."""


class TimeLeft:
    """Status lines of named work with an estimate of the time left."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[float, int]] = {}

    def line(self, now: float, work: str, done: int, total: int, detail: str, unit: str) -> str:
        """Return a status line with an estimate of the time left from the steps done since the first call."""
        since, before = self._first.setdefault(work, (now, done))
        left = ""
        if before < done < total:
            left = f", about {_duration((now - since) / (done - before) * (total - done))} left"
        return f"{work}: {_count(done, total, unit)}{left}{f' ({detail})' if detail else ''}"


def _count(done: int, total: int, unit: str) -> str:
    return f"{done}/{total}{f' {unit}' if unit else ''}"


class PlainProgress:
    """Plain lines: one when work begins, at most one every ``interval`` seconds, and one when it ends."""

    def __init__(self, stream: TextIO, interval: float = 10.0) -> None:
        self._stream = stream
        self._interval = interval
        self._time_left = TimeLeft()
        self._printed: dict[str, float] = {}

    def update(self, work: str, done: int, total: int, detail: str = "", unit: str = "") -> None:
        """Print the status with an estimate of the time left."""
        now = time.monotonic()
        line = self._time_left.line(now, work, done, total, detail, unit)
        if done < total and now - self._printed.get(work, -self._interval) < self._interval:
            return
        self._printed[work] = now
        self.note(line)

    def note(self, text: str) -> None:
        """Print one line."""
        print(text, file=self._stream, flush=True)

    def event(self, event: Mapping[str, Any]) -> None:
        """Ignore; :meth:`update` prints the essential parts."""


class NotebookProgress:
    """Lines below a notebook's cell, one per piece of work, updated in place; a saved notebook keeps the last state."""

    def __init__(self, interval: float = 0.2) -> None:
        display: Any = import_module("IPython.display").display
        self._display = display
        self._shown: Any = None
        self._interval = interval
        self._time_left = TimeLeft()
        self._lines: dict[str, str] = {}
        self._last = 0.0

    def update(self, work: str, done: int, total: int, detail: str = "", unit: str = "") -> None:
        """Update the line, at most a few times per second."""
        now = time.monotonic()
        self._lines[work] = self._time_left.line(now, work, done, total, detail, unit)
        if done < total and now - self._last < self._interval:
            return
        self._last = now
        content = {"text/plain": "\n".join(self._lines.values())}
        if self._shown is None:
            self._shown = self._display(content, raw=True, display_id=True)
        else:
            self._shown.update(content, raw=True)

    def note(self, text: str) -> None:
        """Print one line."""
        print(text, flush=True)

    def event(self, event: Mapping[str, Any]) -> None:
        """Ignore; :meth:`update` shows the essential parts."""


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


@contextmanager
def automatic_progress() -> Iterator[Progress]:
    """Yield the progress display that fits: lines in a notebook, bars on a terminal, plain lines elsewhere."""
    if is_notebook():
        yield NotebookProgress()
    elif sys.stderr.isatty():
        with TerminalProgress() as bars:
            yield bars
    else:
        yield PlainProgress(sys.stderr)


@contextmanager
def progress_or_default(progress: Progress | Literal[False] | None) -> Iterator[Progress]:
    """Yield the given progress, a silent one for False, or the automatic one for None."""
    if progress is None:
        with automatic_progress() as shown:
            yield shown
    else:
        yield progress or Silent()


def _duration(seconds: float) -> str:
    """Format seconds: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class TerminalProgress:
    """Progress bars, one per piece of work; a context manager, so that the terminal is always restored."""

    def __init__(self) -> None:
        # Texts are wrapped, not cut, in a narrow terminal.
        self._bars = RichProgress(
            TextColumn("{task.description}", table_column=Column(overflow="fold")),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[count]}", table_column=Column(no_wrap=True)),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[detail]}", table_column=Column(overflow="fold")),
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

    def update(self, work: str, done: int, total: int, detail: str = "", unit: str = "") -> None:
        """Update the bar."""
        shown: dict[str, Any] = {"detail": detail, "count": _count(done, total, unit)}
        if work not in self._tasks:
            self._hide_finished()
            self._tasks[work] = self._bars.add_task(work, total=total, **shown)
        self._bars.update(self._tasks[work], completed=done, total=total, **shown)

    def _hide_finished(self) -> None:
        """Hide the oldest finished bars where there are many, so that the newest stay on the screen."""
        finished = [task.id for task in self._bars.tasks if task.finished and task.visible]
        for task in finished[: max(0, len(finished) - MOST_FINISHED)]:
            self._bars.update(task, visible=False)

    def note(self, text: str) -> None:
        """Print one line above the bars."""
        self._bars.console.print(text, highlight=False, markup=False)

    def event(self, event: Mapping[str, Any]) -> None:
        """Ignore; :meth:`update` shows the essential parts."""
