"""Output of commands: text, or JSON with ``--json``; progress goes to standard error."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fedfr.core.errors import printable
from fedfr.reporting.progress import Progress
from fedfr.reporting.progress import automatic_progress as progress

__all__ = [
    "AsJson",
    "Overrides",
    "Track",
    "Workers",
    "overrides_of",
    "print_json",
    "print_lines",
    "progress",
    "tracked",
]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change a setting; may be given several times.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Number of parallel client processes; does not change results.")
]

Track = Annotated[
    list[str] | None,
    typer.Option("--track", metavar="NAME", help="Also send metrics to a tracker while the run lasts: {trackers}."),
]


def overrides_of(settings: list[str] | None, workers: int | None) -> list[str]:
    """Return the changed settings of ``--set`` and ``--workers``."""
    return [*(settings or []), *([f"runtime.workers={workers}"] if workers else [])]


def print_lines(text: str, indent: int = 2, *, wrap: bool = False) -> None:
    """Print lines, wrapped to the width of the terminal with continuation lines indented; words are not broken.

    Without a terminal they are wrapped if ``COLUMNS`` is set, or if ``wrap`` is given. Signs that control a terminal,
    as names of files may contain, are written as escapes.
    """
    text = printable(text, keep="\n")
    if wrap or sys.stdout.isatty() or os.environ.get("COLUMNS"):
        from fedfr.reporting.text_tables import screen_width, wrapped

        width = screen_width()
        lines = text.split("\n")
        margins = [" " * (len(line) - len(line.lstrip()) + indent) for line in lines]
        text = "\n".join(wrapped(line, width, margin) for line, margin in zip(lines, margins, strict=True))
    print(text, flush=True)


def print_json(content: Any) -> None:
    """Print ``content`` as one JSON document, in ASCII so that every locale can show it."""
    print(json.dumps(content, indent=2, allow_nan=False))


@contextlib.contextmanager
def tracked(names: Sequence[str] | None, folder: Path) -> Iterator[Progress]:
    """Yield a progress display whose events also go to the named trackers."""
    from fedfr.reporting.tracking import Tracking

    with progress() as reporter, Tracking(reporter, names or (), folder) as both:
        yield both
