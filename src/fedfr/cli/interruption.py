"""What a command says when it is interrupted: what is kept, and how it goes on."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["REPEAT_COMMAND", "Interrupted", "interruptible", "resume_hint"]

REPEAT_COMMAND = "interrupted; what is finished is kept, the same command goes on with it"


class Interrupted(Exception):  # noqa: N818 - no mistake was made
    """Ctrl-C, and what to say of it."""


@contextlib.contextmanager
def interruptible(message: str | Callable[[], str]) -> Iterator[None]:
    """Answer Ctrl-C inside the block with ``said``; elsewhere a command is just interrupted."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(message if isinstance(message, str) else message()) from error


def resume_hint(run: Path) -> Callable[[], str]:
    """Of a command that makes or continues a run: it can be resumed once its configuration is in its folder."""

    def message() -> str:
        if not (run / "config.yaml").is_file():
            return "interrupted before the run was made; nothing of it is kept"
        return f"interrupted; what is finished is on disk, go on with `fedfr resume {shlex.quote(str(run))}`"

    return message
