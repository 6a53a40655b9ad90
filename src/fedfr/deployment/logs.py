"""What happens on a machine of a federation, a line of JSON each: time, level, and whom it is about."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

__all__ = ["LOG", "last_error", "log_to"]

LOG = "log.jsonl"
LARGEST, KEPT = 10_000_000, 3
FACTS = ("run", "client", "round")


class _Json(logging.Formatter):
    """One line for each record; ``facts`` stand in all of them."""

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
    """From now on write what fedfr logs in this process to ``folder/log.jsonl`` too; ten megabytes, four files.

    A folder that cannot be written is no reason to stop: the lines go to standard error alone.
    """
    logger = logging.getLogger("fedfr")
    logger.setLevel(logging.INFO)
    for old in [handler for handler in logger.handlers if isinstance(handler, RotatingFileHandler)]:
        logger.removeHandler(old)
        old.close()
    try:
        handler = RotatingFileHandler(folder / LOG, maxBytes=LARGEST, backupCount=KEPT, encoding="utf-8")
    except OSError as error:
        logger.warning("cannot write %s: %s", folder / LOG, error.strerror or error)
        return
    handler.setFormatter(_Json(facts))
    logger.addHandler(handler)


def last_error(folder: Path) -> str:
    """The newest error in a folder's log, with its time, or nothing."""
    path = folder / LOG
    if not path.exists():
        return ""
    # Not splitlines: a message may hold signs at which that splits and JSON does not.
    for text in reversed(path.read_text(encoding="utf-8", errors="replace").split("\n")):
        try:
            line = json.loads(text)
            if line["level"] in ("error", "critical"):
                return f"{line['time']} {line['message']}"
        except (ValueError, LookupError, TypeError):
            # A machine that lost power leaves anything.
            continue
    return ""
