"""Journal of decisions and changes: sealed entries with pseudonyms, linked by keyed hashes, kept for some days."""

from __future__ import annotations

import contextlib
import hmac
import json
import math
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.recognition.decision import REASONS
from fedfr.recognition.gallery.encryption import SiteKey
from fedfr.recognition.gallery.store import GalleryStore, now

__all__ = ["KINDS", "OUTCOMES", "Journal", "JournalCheck", "JournalEntry", "reseal_journal"]

KINDS = (
    *("identify", "verify", "enrol", "remove", "rename", "calibrate", "rebuild", "switch", "rekey", "export"),
    *("settings", "recalibrate"),
)
"""What an entry can be about."""
OUTCOMES = ("accept", "reject", "no-decision", "done", "partial", "refused")
"""How it can end."""

_CALIBRATION = re.compile(r"[0-9A-Za-z:._-]{0,80}")
_PSEUDONYM = re.compile("[0-9a-f]{12}")
_START = bytes(32)


@dataclass(frozen=True)
class JournalEntry:
    """One decision or change: number, time (UTC, seconds), kind, outcome, and what it rests on.

    ``person`` is a pseudonym, not the person's id; it says nothing after the person was removed. ``score`` and
    ``threshold`` are rounded to two decimals.
    """

    number: int
    time: str
    kind: str
    outcome: str
    person: str | None = None
    score: float | None = None
    threshold: float | None = None
    reasons: tuple[str, ...] = ()
    calibration: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "reasons": list(self.reasons)}


@dataclass(frozen=True)
class JournalCheck:
    """Result of a check of the journal.

    ``entries``: number of entries that are whole, up to the first that is wrong. ``newest``: number of the newest entry
    that was written. ``wrong``: number of the first entry that was changed, removed or inserted, with the ``reason``;
    None if there is none.
    """

    entries: int
    newest: int
    wrong: int | None = None
    reason: str = ""

    @property
    def text(self) -> str:
        """One sentence for people."""
        if self.wrong is not None:
            return f"entry {self.wrong} of the journal {self.reason} by another program"
        if not self.entries:
            return "the journal has no entry"
        return f"the journal is whole: {self.entries} entries, the newest is number {self.newest}"

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "text": self.text}


@dataclass(frozen=True)
class _Ends:
    """Ends of the chain: number of the first entry and hash before it, number of the last entry and its hash."""

    first: int = 1
    before: str = _START.hex()
    last: int = 0
    mac: str = _START.hex()


class Journal:
    """Journal of a gallery.

    The hash of an entry covers the one before it and needs the key of the gallery; the numbers and hashes of both ends
    are sealed. Without the key, entries cannot be changed, added, removed or cut off unnoticed.
    """

    def __init__(self, store: GalleryStore, days: Callable[[], int]) -> None:
        self._store = store
        self._days = days
        self._expired_on = ""

    def append(
        self,
        kind: str,
        outcome: str = "done",
        *,
        person: str | None = None,
        score: float | None = None,
        threshold: float | None = None,
        reasons: tuple[str, ...] = (),
        calibration: str = "",
        time: str | None = None,
    ) -> JournalEntry:
        """Add an entry; ``person`` is the pseudonym of an enrolled person. Old entries are removed once a day.

        Raises :class:`FedfrError` for values that are not allowed: an entry has no free text.
        """
        for value, allowed, what in ((kind, KINDS, "kind"), (outcome, OUTCOMES, "outcome")):
            if value not in allowed:
                raise FedfrError(f"a journal entry has the {what} {value!r}; allowed are {', '.join(allowed)}")
        unknown = [reason for reason in reasons if reason not in REASONS]
        named = _PSEUDONYM.fullmatch("0" * 12 if person is None else person)
        if unknown or not named or not _CALIBRATION.fullmatch(calibration):
            raise FedfrError(
                f"a journal entry has reasons {reasons!r}, calibration {calibration!r} and a person; give reason "
                "codes, the id of a calibration and a pseudonym"
            )
        with self._store.note():
            key, ends = self._store.key, _ends(self._store)
            entry = JournalEntry(
                ends.last + 1,
                time or now(),
                kind,
                outcome,
                person,
                _rounded(score),
                _rounded(threshold),
                reasons,
                calibration,
            )
            content = json.dumps(entry.to_json(), allow_nan=False, separators=(",", ":")).encode()
            mac = _link(key, bytes.fromhex(ends.mac), entry.number, content)
            sealed = key.cipher("journal").seal(content, _place(entry.number))
            self._store.database.run("INSERT INTO journal VALUES (?, ?, ?)", (entry.number, sealed, mac))
            self._store.state.journal = asdict(_Ends(ends.first, ends.before, entry.number, mac.hex()))
        today = now()[:10]
        if self._expired_on != today:
            self._expired_on = today
            if self._store.database.changing:
                self.expire()
            else:
                # The entry is stored; old ones can be removed tomorrow as well.
                with contextlib.suppress(FedfrError):
                    self.expire(patience=0)
        return entry

    @property
    def newest(self) -> int:
        """Number of the newest entry that was written, 0 if there is none."""
        with self._store.read():
            return _ends(self._store).last

    def entries(self, limit: int | None = None) -> list[JournalEntry]:
        """Return the newest entries, newest first.

        Raises :class:`FedfrError` if one of them, or the one before them, was changed, removed or inserted.
        """
        with self._store.read():
            found: list[JournalEntry] = []
            for number, content, reason in _checked(self._store, limit):
                if reason:
                    wrong = JournalCheck(len(found), self.newest, number, reason)
                    raise FedfrError(
                        f"{self._store.folder}: {wrong.text}; see `fedfr gallery journal`, and restore the gallery "
                        "from a copy"
                    )
                found.append(_parsed(content))
        return found[::-1]

    def verify(self) -> JournalCheck:
        """Check every entry; the result names the first that was changed, removed or inserted."""
        return self.verified_entries(0)[0]

    def verified_entries(self, limit: int | None = None) -> tuple[JournalCheck, list[JournalEntry]]:
        """Check every entry; return the result and the newest of the entries that are whole, newest first.

        If an entry is wrong, these are the newest before it: what is after it is not linked to them.
        """
        with self._store.read():
            count, newest, kept = 0, self.newest, deque[bytes](maxlen=limit)
            check = None
            for number, content, reason in _checked(self._store):
                if reason:
                    check = JournalCheck(count, newest, number, reason)
                    break
                count += 1
                kept.append(content)
        return check or JournalCheck(count, newest), [_parsed(content) for content in reversed(kept)]

    def expire(self, patience: float | None = None) -> int:
        """Remove entries that are older than the days of the settings; returns how many."""
        days = self._days()
        if not days:
            return 0
        limit = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
        with self._store.read():
            if not self._older(limit):
                return 0
        with self._store.change(patience):
            ends, old = _ends(self._store), self._older(limit)
            if old:
                number, mac = old[-1]
                self._store.database.run("DELETE FROM journal WHERE number <= ?", (number,))
                self._store.database.mark_cleanup()
                self._store.state.journal = asdict(_Ends(number + 1, mac.hex(), ends.last, ends.mac))
        return len(old)

    def _older(self, limit: str) -> list[tuple[int, bytes]]:
        """Return number and hash of the entries before ``limit``, up to the first that is newer or was changed."""
        cipher, found = self._store.key.cipher("journal"), []
        with contextlib.suppress(FedfrError):
            for number, sealed, mac in self._store.database.each("SELECT * FROM journal ORDER BY number"):
                if not isinstance(mac, bytes) or _parsed(cipher.open(sealed, _place(number))).time >= limit:
                    break
                found.append((number, mac))
        return found


def reseal_journal(store: GalleryStore, new: SiteKey) -> None:
    """Seal the journal with another key, within a change. An entry that was wrong stays wrong."""
    ends = _ends(store)
    last = bytes.fromhex(ends.before)
    old, cipher = store.key.cipher("journal"), new.cipher("journal")
    checked = {number: reason for number, _, reason in _checked(store)}
    for (number,) in store.database.rows("SELECT number FROM journal ORDER BY number"):
        [(sealed,)] = store.database.rows("SELECT sealed FROM journal WHERE number = ?", (number,))
        with contextlib.suppress(FedfrError):
            content = old.open(sealed, _place(number))
            # Wrong entries and those after them are linked to nothing, so that the check still names the first.
            mac = _link(new, last, number, content) if checked.get(number) == "" else bytes(32)
            sealed, last = cipher.seal(content, _place(number)), mac
            store.database.run("UPDATE journal SET sealed = ?, mac = ? WHERE number = ?", (sealed, mac, number))
    store.state.journal = asdict(_Ends(ends.first, ends.before, ends.last, last.hex()))


def _checked(store: GalleryStore, newest: int | None = None) -> Iterator[tuple[int, bytes, str]]:
    """Iterate over number, content and fault ("" if there is none) of each entry; ends after the first fault.

    With ``newest``, only so many of the newest entries are checked, and that they follow the entry before.
    """
    ends = _ends(store)
    cipher, before, expected = store.key.cipher("journal"), bytes.fromhex(ends.before), ends.first
    if newest is not None and ends.last - newest >= ends.first:
        expected = ends.last - newest + 1
        found = store.database.rows("SELECT mac FROM journal WHERE number = ?", (expected - 1,))
        if not found:
            yield expected - 1, b"", "was removed"
            return
        before = found[0][0] if isinstance(found[0][0], bytes) else b""
    rows = "SELECT * FROM journal ORDER BY number"
    if newest is not None:
        rows = f"SELECT * FROM journal WHERE number >= {expected} ORDER BY number"
    for number, sealed, mac in store.database.each(rows):
        if number != expected or number > ends.last:
            removed = expected < number <= ends.last
            yield (expected, b"", "was removed") if removed else (number, b"", "was inserted")
            return
        try:
            content = cipher.open(sealed, _place(number))
        except FedfrError:
            content = b""
        whole = isinstance(mac, bytes) and hmac.compare_digest(mac, _link(store.key, before, number, content))
        # Entries of a copy that was restored meanwhile are linked to each other, but not to the sealed end.
        if not whole or (number == ends.last and not hmac.compare_digest(mac.hex(), ends.mac)):
            yield number, b"", "was changed"
            return
        yield number, content, ""
        before, expected = mac, expected + 1
    if expected <= ends.last:
        yield expected, b"", "was removed"


def _link(key: SiteKey, before: bytes, number: int, content: bytes) -> bytes:
    """Return the keyed SHA-256 of an entry: it covers the hash of the entry before."""
    return hmac.digest(key.mac_key("journal"), b"%s%d %s" % (before, number, content), "sha256")


def _ends(store: GalleryStore) -> _Ends:
    return _Ends(**store.state.journal)


def _place(number: int) -> str:
    return f"journal.sealed entry {number}"


def _parsed(sealed: bytes) -> JournalEntry:
    content = json.loads(sealed)
    return JournalEntry(**{**content, "reasons": tuple(content["reasons"])})


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 2)
