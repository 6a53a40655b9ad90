"""Logs of a site or coordinator: a shareable log, a log of its folder, and a debug log.

``fedfr site run`` and ``fedfr server run`` write shareable lines to standard error: one per record, as text or JSON,
without exception texts that could contain names. ``debug.log`` holds the full records with tracebacks. ``log.jsonl``
holds the records of fedfr's own code as JSON lines with time, level and context. Only their owner can read both files.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Literal

from fedfr.deployment.process_output import DEBUG_LOG, SEE_DEBUG_LOG, own_line, redact, strip_escapes, summary

__all__ = ["LOG", "LineFormat", "last_error", "log_run", "log_to", "show_errors"]

LOG = "log.jsonl"
MAX_BYTES, BACKUPS = 10_000_000, 3
CONTEXT_FIELDS = ("run", "client", "round")
LineFormat = Literal["text", "json"]


class _PrivateFile(RotatingFileHandler):
    """Rotating log file that only its owner can read: four files of up to 10 MB."""

    def __init__(self, path: Path, *, delay: bool = False) -> None:
        super().__init__(path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8", delay=delay)

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.fchmod(descriptor, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")


class _ShareableFormatter(logging.Formatter):
    """Format a record as one line without private data, as text or JSON."""

    def __init__(self, form: LineFormat) -> None:
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        message = " ".join(strip_escapes(record.getMessage()).split())
        if record.exc_info:
            message += f": {summary(self.formatException(record.exc_info))}{SEE_DEBUG_LOG}"
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": getattr(record, "source", "fedfr"),
            "message": message,
        }
        if self._form == "json":
            return json.dumps(line, ensure_ascii=False)
        return f"{line['time']} {line['level']} {line['process']}: {message}"


class _DebugFormatter(_ShareableFormatter):
    """Format a record with its full text, on several lines."""

    def format(self, record: logging.LogRecord) -> str:
        full_text = getattr(record, "full_text", record.getMessage())
        if record.exc_info:
            full_text += f"\n{self.formatException(record.exc_info)}"
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return f"{time} {record.levelname.lower()} {getattr(record, 'source', 'fedfr')}: {strip_escapes(full_text)}"


@contextmanager
def log_run(folder: Path, form: LineFormat) -> Iterator[None]:
    """Log shareable lines to standard error and full records to ``folder/debug.log`` until the block ends.

    The file is created with its first record, so a command that fails before it starts leaves none.
    """
    root, package = logging.getLogger(), logging.getLogger("fedfr")
    before = root.level, package.level
    stream: logging.Handler = logging.StreamHandler(sys.stderr)
    stream.setLevel(logging.INFO)
    stream.setFormatter(_ShareableFormatter(form))
    stream.addFilter(lambda record: bool(record.getMessage()))
    handlers = [stream]
    if os.access(folder, os.W_OK):
        file = _PrivateFile(folder / DEBUG_LOG, delay=True)
        file.setFormatter(_DebugFormatter(form))
        handlers.append(file)
    logging.captureWarnings(capture=True)
    root.setLevel(logging.INFO)
    package.setLevel(logging.DEBUG)
    for handler in handlers:
        root.addHandler(handler)
    try:
        if len(handlers) == 1:
            package.warning("cannot write %s; logging to standard error only", folder / DEBUG_LOG)
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
        logging.captureWarnings(capture=False)
        for logger, level in zip((root, package), before, strict=True):
            logger.setLevel(level)


class _FolderFormatter(logging.Formatter):
    """Format a record as one line of JSON; ``fields`` are added to every line."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        context = {name: value for name in CONTEXT_FIELDS if (value := getattr(record, name, None)) is not None}
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **self._fields,
            **context,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_to(folder: Path, **fields: str) -> None:
    """Also write this process's log to ``folder/log.jsonl``, in four files of up to 10 MB.

    ``fields`` are added to every line. If the folder cannot be written, logs a warning and continues without the file.
    """
    logger = logging.getLogger("fedfr")
    logger.setLevel(logging.INFO)
    for old in [handler for handler in logger.handlers if isinstance(handler, RotatingFileHandler)]:
        logger.removeHandler(old)
        old.close()
    try:
        handler = _PrivateFile(folder / LOG)
    except OSError as error:
        logger.warning("cannot write %s: %s", folder / LOG, error.strerror or error)
        return
    handler.setFormatter(_FolderFormatter(fields))
    logger.addHandler(handler)


class _OwnLineFormatter(logging.Formatter):
    """Format a record of a site's client as a line that may be shared, which its supervisor logs as it is.

    A record's ``shareable`` text takes the place of its message, from which paths and quoted names are removed.
    """

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        text = getattr(record, "shareable", "") or redact(message)
        if record.exc_info:
            text += f": {summary(self.formatException(record.exc_info))}"
        return own_line(record.levelno, text if text == message else f"{text}; full text in {LOG}")


class _OwnLines(logging.Handler):
    """Writes warnings, errors and everything that is marked as shareable to standard error."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(_OwnLineFormatter())
        self.addFilter(lambda record: record.levelno >= logging.WARNING or hasattr(record, "shareable"))

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


def show_errors() -> None:
    """Also write warnings, errors and shareable lines of this process to standard error, without paths and names."""
    logger = logging.getLogger("fedfr")
    if not any(isinstance(handler, _OwnLines) for handler in logger.handlers):
        logger.addHandler(_OwnLines())


def last_error(folder: Path) -> str:
    """Return the newest error in a folder's log with its time; empty if there is none."""
    path = folder / LOG
    if not path.exists():
        return ""
    # Not splitlines, which also splits at characters that JSON leaves unescaped.
    for text in reversed(path.read_text(encoding="utf-8", errors="replace").split("\n")):
        try:
            line = json.loads(text)
            if line["level"] in ("error", "critical"):
                return f"{line['time']} {line['message']}"
        except (ValueError, LookupError, TypeError, RecursionError):
            # A crash or power failure can leave damaged lines.
            continue
    return ""
