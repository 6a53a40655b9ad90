"""Messages of interrupted commands: what is kept, and how to continue."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["REPEAT_COMMAND", "Interrupted", "interruptible", "resume_hint"]

REPEAT_COMMAND = "interrupted; finished work is kept, repeat the same command to continue"


class Interrupted(Exception):  # noqa: N818 - no mistake was made
    """Ctrl-C, with the message to print."""


@contextlib.contextmanager
def interruptible(message: str | Callable[[], str]) -> Iterator[None]:
    """Raise :class:`Interrupted` with ``message`` for Ctrl-C inside the block."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(message if isinstance(message, str) else message()) from error


def resume_hint(run: Path) -> Callable[[], str]:
    """Return the message of an interrupted run, which can be resumed once its configuration is written."""

    def message() -> str:
        if not (run / "config.yaml").is_file():
            return "interrupted before the run was created; nothing is kept"
        return f"interrupted; finished work is kept, continue with `fedfr resume {shlex.quote(str(run))}`"

    return message
