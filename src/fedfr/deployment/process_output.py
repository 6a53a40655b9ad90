"""Output of Flower's processes and nginx as log records: no colours, tracebacks on one line.

They write in formats of their own, on several lines, with escape sequences even into files. What people are shown is
one line for each thing that happened; all that was printed is kept for the debug log (:mod:`fedfr.deployment.logs`).
"""

from __future__ import annotations

import logging
import os
import re
import select
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

__all__ = ["DEBUG_LOG", "WHOLE", "Folding", "Said", "plain", "relay", "summary"]

DEBUG_LOG = "debug.log"
WHOLE = f"; all of it is in {DEBUG_LOG}"
PAUSE = 0.5
"""Seconds without output after which a record is complete."""
LONGEST, MOST = 1 << 16, 1000
"""Longest line in characters, and longest record in lines."""

# In seven bits and in eight; then whatever other sign controls a terminal.
ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)|\x1b[@-Z\\^_]"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
NAMES = "DEBUG|INFO|WARNING|ERROR|CRITICAL"
STARTS = (
    re.compile(rf"(?P<level>{NAMES})\s*(?:\d{{4}}-\d\d-\d\d [\d:,]+)?\s*:\s*(?P<message>.*)"),
    re.compile(rf"\d{{4}}-\d\d-\d\dT[\d:.]+Z (?P<level>{NAMES}) \[(?P<logger>[\w.]+)\] (?P<message>.*)"),
    re.compile(r"\d{4}/\d\d/\d\d [\d:]+ \[(?P<level>\w+)\] \d+#\d+: (?:\*\d+ )?(?P<message>.*)"),
    re.compile(r"nginx: \[(?P<level>\w+)\] (?P<message>.*)"),
    re.compile(r'\d{4}-\d\d-\d\dT[\d:]+[+-][\d:]+ (?P<message>\S+ "[^"]*" [A-Z]+ \S+ \d{3} \d+)'),
)
NGINX = {"warn": "WARNING", "error": "ERROR", "crit": "CRITICAL", "alert": "CRITICAL", "emerg": "CRITICAL"}
TRACEBACK = re.compile(r"\s*(?:[|+]\s*)?(?:Exception Group )?Traceback \(most recent call last\):")
RAISED = re.compile(r"(?P<kind>[A-Za-z_][\w.]*)(?::\s?(?P<text>.*))?")
PLACE = re.compile(r'^[\s|]*File "(?P<file>[^"]+)", line (?P<line>\d+)')
NETWORK = re.compile(r"(?:httpx|httpcore|ssl|socket)\.\w+|(?:Connection\w*|Timeout|BrokenPipe)Error")
ERRNO = re.compile(r"\[Errno -?\d+\] [^:'\"]*")
NAMED = re.compile(r"'[^']*'|\"[^\"]*\"|<[^<>]*>|(?<![\w/:.])/[^\s,;:'\"]+(?:/[^,;:'\"\n]*)?")

_log = logging.getLogger("fedfr.deployment.process_output")


def plain(text: str) -> str:
    """Remove escape sequences and other terminal control characters."""
    return ESCAPES.sub("", text)


@dataclass(frozen=True)
class Said:
    """Record printed by a process; ``shown`` is one line, or empty if it is only for the debug log."""

    level: int
    shown: str
    whole: str


@dataclass
class _Open:
    level: int
    message: str | None
    lines: list[str]
    raising: bool = False
    traced: bool = False


@dataclass
class Folding:
    """Converts lines to records; ``private`` removes paths and quoted names from shown lines, as at a site."""

    private: bool = True
    _open: _Open | None = field(default=None, init=False)

    def feed(self, line: str) -> Iterator[Said]:
        """Return the records that this line completes."""
        line = plain(line[:LONGEST]).rstrip()
        current, start = self._open, _start(line)
        if current is not None and len(current.lines) >= MOST:
            yield from self.flush()
            current = None
        if current is not None and current.raising and not (start is not None and start.traced):
            if start is not None:
                # Of another process that writes to the same place.
                if start.message:
                    yield self._made(start)
                return
            current.lines.append(line)
            current.raising = not (RAISED.fullmatch(line) and not TRACEBACK.match(line))
        elif TRACEBACK.match(line):
            if current is None or current.level < logging.WARNING:
                yield from self.flush()
                self._open = current = _Open(logging.ERROR, None, [])
            current.lines.append(line)
            current.raising = current.traced = True
        elif start is not None:
            yield from self.flush()
            self._open = start if start.message or start.traced else None
        elif current is not None and current.level >= logging.WARNING:
            current.lines.append(line)
        else:
            yield from self.flush()
            if line:
                yield Said(logging.INFO, "", line)

    def flush(self) -> Iterator[Said]:
        """Return the last record, after the output has paused or ended."""
        current, self._open = self._open, None
        if current is not None:
            yield self._made(current)

    def _made(self, record: _Open) -> Said:
        whole = "\n".join(record.lines).strip()
        head = self._public(record.message or "")
        if record.traced:
            tail = summary(whole) + WHOLE
            return Said(record.level, f"{head}: {tail}" if head else tail, whole)
        more = [self._public(line) for line in record.lines[1:] if line]
        return Said(record.level, " ".join([head, *more]), whole)

    def _public(self, text: str) -> str:
        return NAMED.sub("…", text) if self.private else text


def _start(line: str) -> _Open | None:
    for pattern in STARTS:
        if found := pattern.fullmatch(line):
            groups = found.groupdict()
            name = groups.get("level") or "DEBUG"
            level = logging.getLevelNamesMapping().get(NGINX.get(name, name), logging.INFO)
            if groups.get("logger") == "uvicorn.access":
                level = logging.DEBUG
            if TRACEBACK.match(groups["message"]):
                return _Open(max(level, logging.ERROR), None, [line], raising=True, traced=True)
            return _Open(level, groups["message"], [line])
    return None


def summary(traceback: str) -> str:
    """Summarize a traceback: last exception and its place; only network and system errors keep their text."""
    raised, place = None, ""
    for line in traceback.split("\n"):
        if found := PLACE.match(line):
            raised, place = None, ":".join(["/".join(found["file"].split("/")[-2:]), found["line"]])
        elif raised is None and place and not line[:1].isspace():
            raised = RAISED.fullmatch(line)
    if raised is None:
        return "an error"
    text = raised["text"] or ""
    if not NETWORK.fullmatch(raised["kind"]):
        known = ERRNO.match(text)
        text = known[0].strip() if known else ""
    where = f" at {place}" if place else ""
    return f"{raised['kind']}{where}{': ' if text else ''}{NAMED.sub('…', text)}"


def relay(stream: IO[bytes], source: str, *, private: bool) -> None:
    """Log a process's output until it, and every process that shares the output, has ended."""
    folding, rest = Folding(private), b""
    with stream:
        while True:
            if not select.select([stream], [], [], PAUSE)[0]:
                _tell(folding.flush(), source)
                continue
            piece = os.read(stream.fileno(), LONGEST)
            *lines, rest = (rest + piece).split(b"\n")
            if not piece or len(rest) > LONGEST:
                lines, rest = [*lines, rest], b""
            for line in lines:
                # Progress bars write over their line; the last state counts.
                text = line.decode("utf-8", errors="replace").rstrip("\r").rpartition("\r")[2]
                _tell(folding.feed(text), source)
            if not piece:
                _tell(folding.flush(), source)
                return


def _tell(records: Iterator[Said], source: str) -> None:
    for said in records:
        if said.shown or said.whole:
            _log.log(said.level, "%s", said.shown, extra={"source": source, "whole": said.whole})
