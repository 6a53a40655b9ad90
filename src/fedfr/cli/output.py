"""Answers: text for people, ``--json`` for programs; progress goes to standard error."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from fedfr.reporting.progress import PlainProgress, Progress, TerminalProgress

__all__ = ["AsJson", "Overrides", "Workers", "print_json", "progress"]

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON on standard output.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change a setting; may be given several times.")
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Client processes at a time; changes no result.")]


def print_json(content: Any) -> None:
    """Print ``content`` as one JSON document, in ASCII so that every locale can show it."""
    print(json.dumps(content, indent=2, allow_nan=False))


@contextlib.contextmanager
def progress() -> Iterator[Progress]:
    """Bars on a terminal, plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield PlainProgress(sys.stderr)
        return
    with TerminalProgress() as bars:
        yield bars
