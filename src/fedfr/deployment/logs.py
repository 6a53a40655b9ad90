"""Logs of a federation's machine: for the folder, for its operator, and in full for debugging.

``log.jsonl`` is what fedfr noticed, a line of JSON each: time, level, and whom it is about. What ``run`` says on
standard error is one line for each thing that happened, as text or JSON, with no text of an exception that could name
a person. ``debug.log`` has all of it, tracebacks included. The two files are for their owner alone.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Literal, TextIO

from fedfr.deployment.process_output import DEBUG_LOG, WHOLE, plain, summary

__all__ = ["LOG", "Form", "last_error", "log_run", "log_to"]

LOG = "log.jsonl"
LARGEST, KEPT = 10_000_000, 3
FACTS = ("run", "client", "round")
Form = Literal["text", "json"]


class _OwnersFile(RotatingFileHandler):
    """Rotating log file, ten megabytes and four files, readable by its owner only."""

    def __init__(self, path: Path, *, delay: bool = False) -> None:
        super().__init__(path, maxBytes=LARGEST, backupCount=KEPT, encoding="utf-8", delay=delay)

    def _open(self) -> TextIO:  # type: ignore[override]
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.fchmod(descriptor, 0o600)
        return open(descriptor, "a", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123


class _Shown(logging.Formatter):
    """Format a record as one line that may be shared."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        message = " ".join(plain(record.getMessage()).split())
        if record.exc_info:
            message += f": {summary(self.formatException(record.exc_info))}{WHOLE}"
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": getattr(record, "source", "fedfr"),
            "message": message,
        }
        if self._form == "json":
            return json.dumps(line, ensure_ascii=False)
        return f"{line['time']} {line['level']} {line['process']}: {message}"


class _Whole(_Shown):
    """Format a record with everything printed, on several lines."""

    def format(self, record: logging.LogRecord) -> str:
        whole = getattr(record, "whole", record.getMessage())
        if record.exc_info:
            whole += f"\n{self.formatException(record.exc_info)}"
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return f"{time} {record.levelname.lower()} {getattr(record, 'source', 'fedfr')}: {plain(whole)}"


@contextmanager
def log_run(folder: Path, form: Form) -> Iterator[None]:
    """Log to standard error in this form, and in full to ``folder/debug.log``, until the block ends.

    The file is made with its first line: a command that is refused before it begins leaves none.
    """
    root, ours = logging.getLogger(), logging.getLogger("fedfr")
    before = root.level, ours.level
    shown: logging.Handler = logging.StreamHandler(sys.stderr)
    shown.setLevel(logging.INFO)
    shown.setFormatter(_Shown(form))
    shown.addFilter(lambda record: bool(record.getMessage()))
    handlers = [shown]
    if os.access(folder, os.W_OK):
        kept = _OwnersFile(folder / DEBUG_LOG, delay=True)
        kept.setFormatter(_Whole(form))
        handlers.append(kept)
    logging.captureWarnings(capture=True)
    root.setLevel(logging.INFO)
    ours.setLevel(logging.DEBUG)
    for handler in handlers:
        root.addHandler(handler)
    try:
        if len(handlers) == 1:
            ours.warning("cannot write %s; the log is kept on standard error alone", folder / DEBUG_LOG)
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
        logging.captureWarnings(capture=False)
        for logger, level in zip((root, ours), before, strict=True):
            logger.setLevel(level)


class _Json(logging.Formatter):
    """Format a record as one JSON line; ``facts`` are added to each."""

    def __init__(self, facts: dict[str, str]) -> None:
        super().__init__()
        self._facts = facts

    def format(self, record: logging.LogRecord) -> str:
        own = {name: value for name in FACTS if (value := getattr(record, name, None)) is not None}
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **self._facts,
            **own,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_to(folder: Path, **facts: str) -> None:
    """Also write this process's log to ``folder/log.jsonl``; ten megabytes, four files.

    A folder that cannot be written is no reason to stop: the lines go to standard error alone.
    """
    logger = logging.getLogger("fedfr")
    logger.setLevel(logging.INFO)
    for old in [handler for handler in logger.handlers if isinstance(handler, RotatingFileHandler)]:
        logger.removeHandler(old)
        old.close()
    try:
        handler = _OwnersFile(folder / LOG)
    except OSError as error:
        logger.warning("cannot write %s: %s", folder / LOG, error.strerror or error)
        return
    handler.setFormatter(_Json(facts))
    logger.addHandler(handler)


def last_error(folder: Path) -> str:
    """Return the newest error in a folder's log, with its time, or an empty text."""
    path = folder / LOG
    if not path.exists():
        return ""
    # Not splitlines: a message may hold signs at which that splits and JSON does not.
    for text in reversed(path.read_text(encoding="utf-8", errors="replace").split("\n")):
        try:
            line = json.loads(text)
            if line["level"] in ("error", "critical"):
                return f"{line['time']} {line['message']}"
        except (ValueError, LookupError, TypeError, RecursionError):
            # A machine that lost power leaves anything.
            continue
    return ""
