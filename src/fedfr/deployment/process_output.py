"""Conversion of the output of Flower's processes and nginx to log records of one line.

These programs use different formats, print records and tracebacks on several lines, and write escape sequences even to
files. Each record becomes one line without escape sequences; the full text goes to the debug log
(:mod:`fedfr.deployment.logs`).
"""

from __future__ import annotations

import logging
import os
import re
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

__all__ = [
    "DEBUG_LOG",
    "SEE_DEBUG_LOG",
    "OutputParser",
    "OutputRecord",
    "own_line",
    "redact",
    "relay",
    "strip_escapes",
    "summary",
]

DEBUG_LOG = "debug.log"
SEE_DEBUG_LOG = f"; full output in {DEBUG_LOG}"
RECORD_TIMEOUT = 0.5
"""Seconds without output after which a record is complete."""
MAX_LINE_LENGTH, MAX_LINES = 1 << 16, 1000
"""Longest line in characters, and longest record in lines."""

# CSI, OSC and other escape sequences in 7-bit and 8-bit form, then all other control characters but tab and newline.
ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)|\x1b[@-Z\\^_]"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
LEVEL_NAMES = "DEBUG|INFO|WARNING|ERROR|CRITICAL"
RECORD_STARTS = (
    re.compile(rf"(?P<level>{LEVEL_NAMES})\s*(?:\d{{4}}-\d\d-\d\d [\d:,]+)?\s*:\s*(?P<message>.*)"),
    re.compile(rf"\d{{4}}-\d\d-\d\dT[\d:.]+Z (?P<level>{LEVEL_NAMES}) \[(?P<logger>[\w.]+)\] (?P<message>.*)"),
    re.compile(r"\d{4}/\d\d/\d\d [\d:]+ \[(?P<level>\w+)\] \d+#\d+: (?:\*\d+ )?(?P<message>.*)"),
    re.compile(r"nginx: \[(?P<level>\w+)\] (?P<message>.*)"),
    re.compile(r'\d{4}-\d\d-\d\dT[\d:]+[+-][\d:]+ (?P<message>\S+ "[^"]*" [A-Z]+ \S+ \d{3} \d+)'),
)
OWN_LINE = re.compile(r"fedfr: (?:(?P<level>warning|info): )?(?P<message>.*)")
"""Error or warning of fedfr's own code in one of Flower's processes (:func:`own_line`)."""
REPEAT_AFTER = 600.0
"""Seconds after which an error of fedfr's own code that keeps occurring is shown again."""
KNOWN_RECORDS = (
    # Flower quotes the key, and logs a rejected request as an error of the SuperLink.
    ("Heartbeat interval 0.0 is out of bounds", logging.INFO, "a site checked its registration (`fedfr site check`)"),
    (
        "No SuperNode found with the given public key",
        logging.WARNING,
        "a site whose key is not registered was refused; register its site.key.pub with `fedfr server register`",
    ),
)
"""By a part of the message: level and text of records whose own text would mislead."""
NGINX_LEVELS = {"warn": "WARNING", "error": "ERROR", "crit": "CRITICAL", "alert": "CRITICAL", "emerg": "CRITICAL"}
TRACEBACK = re.compile(r"\s*(?:[|+]\s*)?(?:Exception Group )?Traceback \(most recent call last\):")
EXCEPTION_LINE = re.compile(r"(?P<kind>[A-Za-z_][\w.]*)(?::\s?(?P<text>.*))?")
FRAME_LINE = re.compile(r'^[\s|]*File "(?P<file>[^"]+)", line (?P<line>\d+)')
INTERRUPTED = "KeyboardInterrupt"
NETWORK_ERROR = re.compile(r"(?:httpx|httpcore|ssl|socket)\.\w+|(?:Connection\w*|Timeout|BrokenPipe)Error")
ERRNO = re.compile(r"\[Errno -?\d+\] [^:'\"]*")
# Not an apostrophe, as in `site's`.
PRIVATE_TEXT = re.compile(r"(?<!\w)b?'[^']*'|\"[^\"]*\"|<[^<>]*>|(?<![\w/:.])/[^\s,;:'\"]+(?:/[^,;:'\"\n]*)?")

_log = logging.getLogger("fedfr.deployment.process_output")


def strip_escapes(text: str) -> str:
    """Remove escape sequences and other terminal control characters."""
    return ESCAPES.sub("", text)


@dataclass(frozen=True)
class OutputRecord:
    """Record printed by a process.

    ``level``: level of :mod:`logging`. ``shareable``: one line, empty for a record that belongs only in the debug log.
    ``full_text``: all lines of the record without escape sequences.
    """

    level: int
    shareable: str
    full_text: str


@dataclass
class _PendingRecord:
    level: int
    message: str | None
    lines: list[str]
    in_traceback: bool = False
    has_traceback: bool = False
    shareable: bool = False


@dataclass
class OutputParser:
    """Converts lines to records; ``private`` removes paths and quoted names from shareable lines, as at a site."""

    private: bool = True
    _pending: _PendingRecord | None = field(default=None, init=False)
    _shown: dict[str, float] = field(default_factory=dict, init=False)

    def feed(self, line: str) -> Iterator[OutputRecord]:
        """Add a line and yield the records that it completes."""
        line = strip_escapes(line[:MAX_LINE_LENGTH]).rstrip()
        current, start = self._pending, _parse_start(line)
        if current is not None and len(current.lines) >= MAX_LINES:
            yield from self.flush()
            current = None
        if current is not None and current.in_traceback and not (start is not None and start.has_traceback):
            if start is not None:
                # A record of another process that writes to the same stream.
                if start.message:
                    yield self._complete(start)
                return
            current.lines.append(line)
            current.in_traceback = not (EXCEPTION_LINE.fullmatch(line) and not TRACEBACK.match(line))
        elif TRACEBACK.match(line):
            if current is None or current.level < logging.WARNING:
                yield from self.flush()
                self._pending = current = _PendingRecord(logging.ERROR, None, [])
            current.lines.append(line)
            current.in_traceback = current.has_traceback = True
        elif start is not None:
            yield from self.flush()
            self._pending = start if start.message or start.has_traceback else None
        elif current is not None and current.level >= logging.WARNING:
            current.lines.append(line)
        else:
            yield from self.flush()
            if line:
                yield OutputRecord(logging.INFO, "", line)

    def flush(self) -> Iterator[OutputRecord]:
        """Yield the pending record, after the output has paused or ended."""
        current, self._pending = self._pending, None
        if current is not None:
            yield self._complete(current)

    def _complete(self, record: _PendingRecord) -> OutputRecord:
        full_text = "\n".join(record.lines).strip()
        if record.shareable:
            return OutputRecord(record.level, self._unless_repeated(record.message or ""), full_text)
        for part, level, text in KNOWN_RECORDS:
            if part in (record.message or ""):
                return OutputRecord(level, text, full_text)
        head = self._redact(record.message or "")
        if record.has_traceback:
            tail = summary(full_text)
            # Flower interrupts its own processes when it stops.
            level = logging.INFO if tail.startswith(INTERRUPTED) else record.level
            tail += SEE_DEBUG_LOG
            return OutputRecord(level, f"{head}: {tail}" if head else tail, full_text)
        more = [self._redact(line) for line in record.lines[1:] if line]
        return OutputRecord(record.level, " ".join([head, *more]), full_text)

    def _redact(self, text: str) -> str:
        return redact(text) if self.private else text

    def _unless_repeated(self, text: str) -> str:
        """Return the text, or nothing if it was shown shortly before: a site is asked again every few seconds."""
        now = time.monotonic()
        self._shown = {other: shown for other, shown in self._shown.items() if now < shown + REPEAT_AFTER}
        if text in self._shown:
            return ""
        self._shown[text] = now
        return text


def redact(text: str) -> str:
    """Replace quoted names, and paths, by an ellipsis."""
    return PRIVATE_TEXT.sub("…", text)


def own_line(level: int, shareable: str) -> str:
    """Format a line that one of Flower's processes writes for fedfr; it is logged at this level as it is."""
    text = " ".join(strip_escapes(shareable).split())
    if level >= logging.ERROR:
        return f"fedfr: {text}"
    return f"fedfr: {'warning' if level >= logging.WARNING else 'info'}: {text}"


def _parse_start(line: str) -> _PendingRecord | None:
    if own := OWN_LINE.fullmatch(line):
        level = logging.getLevelName((own["level"] or "error").upper())
        return _PendingRecord(level, own["message"], [line], shareable=True)
    for pattern in RECORD_STARTS:
        if found := pattern.fullmatch(line):
            groups = found.groupdict()
            name = groups.get("level") or "DEBUG"
            level = logging.getLevelNamesMapping().get(NGINX_LEVELS.get(name, name), logging.INFO)
            if groups.get("logger") == "uvicorn.access":
                level = logging.DEBUG
            if TRACEBACK.match(groups["message"]):
                return _PendingRecord(max(level, logging.ERROR), None, [line], in_traceback=True, has_traceback=True)
            return _PendingRecord(level, groups["message"], [line])
    return None


def summary(traceback: str) -> str:
    """Summarize a traceback: type of the last exception, its file and line, and the text of network and system errors.

    The text of other exceptions is left out: it may contain private data.
    """
    exception, location = None, ""
    for line in traceback.split("\n"):
        if found := FRAME_LINE.match(line):
            exception, location = None, ":".join(["/".join(found["file"].split("/")[-2:]), found["line"]])
        elif exception is None and location and not line[:1].isspace():
            exception = EXCEPTION_LINE.fullmatch(line)
    if exception is None:
        return "an error"
    text = exception["text"] or ""
    if not NETWORK_ERROR.fullmatch(exception["kind"]):
        known = ERRNO.match(text)
        text = known[0].strip() if known else ""
    where = f" at {location}" if location else ""
    return f"{exception['kind']}{where}{': ' if text else ''}{redact(text)}"


def relay(stream: IO[bytes], source: str, *, private: bool) -> None:
    """Log what is read from ``stream`` until all processes that write to it have ended.

    ``source``: name of the process in the log. ``private``: as in :class:`OutputParser`.
    """
    parser, rest = OutputParser(private), b""
    with stream:
        while True:
            if not select.select([stream], [], [], RECORD_TIMEOUT)[0]:
                _log_records(parser.flush(), source)
                continue
            chunk = os.read(stream.fileno(), MAX_LINE_LENGTH)
            *lines, rest = (rest + chunk).split(b"\n")
            if not chunk or len(rest) > MAX_LINE_LENGTH:
                lines, rest = [*lines, rest], b""
            for line in lines:
                # Progress bars overwrite their line; keep the last state.
                text = line.decode("utf-8", errors="replace").rstrip("\r").rpartition("\r")[2]
                _log_records(parser.feed(text), source)
            if not chunk:
                _log_records(parser.flush(), source)
                return


def _log_records(records: Iterator[OutputRecord], source: str) -> None:
    for record in records:
        if record.shareable or record.full_text:
            _log.log(record.level, "%s", record.shareable, extra={"source": source, "full_text": record.full_text})
