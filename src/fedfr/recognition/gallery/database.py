"""SQLite file of a gallery: opening, transactions, locks, and removal of traces of deleted rows."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError, InUseError, WriteError
from fedfr.core.locks import locked
from fedfr.core.secret_files import write_private

__all__ = ["DATABASE", "Database"]

DATABASE = "gallery.db"

# Row numbers are never used twice; the sealed state hands them out.
_SCHEMA = """\
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE spaces (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
CREATE TABLE persons (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, tag BLOB NOT NULL UNIQUE, key BLOB NOT NULL,
 sealed BLOB NOT NULL);
CREATE TABLE photos (row INTEGER PRIMARY KEY, person INTEGER NOT NULL REFERENCES persons(row) ON DELETE CASCADE,
 sealed BLOB NOT NULL);
CREATE INDEX photos_of ON photos(person);
CREATE TABLE crops (photo INTEGER PRIMARY KEY REFERENCES photos(row) ON DELETE CASCADE, sealed BLOB NOT NULL);
CREATE TABLE features (row INTEGER PRIMARY KEY, photo INTEGER NOT NULL REFERENCES photos(row) ON DELETE CASCADE,
 space INTEGER NOT NULL REFERENCES spaces(number), sealed BLOB NOT NULL, UNIQUE (photo, space));
CREATE TABLE templates (row INTEGER PRIMARY KEY, person INTEGER NOT NULL REFERENCES persons(row) ON DELETE CASCADE,
 space INTEGER NOT NULL REFERENCES spaces(number), sealed BLOB NOT NULL, UNIQUE (space, person));
CREATE TABLE calibrations (row INTEGER PRIMARY KEY, space INTEGER NOT NULL UNIQUE REFERENCES spaces(number),
 sealed BLOB NOT NULL);
CREATE TABLE blocks (row INTEGER PRIMARY KEY, space INTEGER NOT NULL REFERENCES spaces(number), kind TEXT NOT NULL,
 number INTEGER NOT NULL, sealed BLOB NOT NULL, UNIQUE (space, kind, number));
CREATE TABLE journal (number INTEGER PRIMARY KEY, sealed BLOB NOT NULL, mac BLOB NOT NULL);
"""
FORMAT = b"fedfr-gallery/1"

# Seconds to wait for another process: a gallery of 100 000 people is rewritten in a few seconds.
PATIENCE = 30.0
_CLEANUP = "cleanup"
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)
_UNREADABLE = (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Database:
    """Connection to a gallery's database, usable from several threads; one transaction at a time.

    Deleted content is overwritten (``secure_delete``). Copies of moved rows can remain in unused parts of pages; after
    a deletion (:meth:`mark_cleanup`), :meth:`clean` therefore writes the database anew and empties the write-ahead log.
    The mark is part of the deleting transaction, so that a killed process's deletion is finished by the next one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / DATABASE
        self._mutex = threading.RLock()
        self._depth = 0
        self._locked = False
        self.writable = os.access(folder, os.W_OK) and os.access(self.path, os.W_OK)
        if not self.path.is_file():
            raise FedfrError(f"{folder} is not a gallery: it has no {DATABASE}; restore it from a copy")
        with self._errors():
            self._connection = self._connect()
            try:
                self._check_schema()
            except BaseException:
                self._connection.close()
                raise

    @classmethod
    def create(cls, folder: Path) -> Database:
        """Create an empty database, readable for its owner only."""
        path = folder / DATABASE
        write_private(path, b"")
        with _reported(path), contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
            # Pages of 8 KiB hold three templates of 512 numbers.
            for statement in ("PRAGMA page_size=8192", "PRAGMA journal_mode=WAL", "BEGIN", *_statements(), "COMMIT"):
                database.execute(statement)
        return cls(folder)

    def close(self) -> None:
        """Close the connection."""
        with self._mutex, contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        with self._mutex, self._errors():
            return self._connection.execute(sql, values).fetchall()

    def each(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """Iterate over the rows of a query inside a transaction, some hundreds in memory at a time."""
        with self._errors():
            cursor = self._connection.execute(sql, values)
            with contextlib.closing(cursor):
                while some := cursor.fetchmany(256):
                    yield from some

    def run(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Execute a statement that changes rows."""
        with self._mutex, self._errors():
            self._connection.execute(sql, values)

    @property
    def changing(self) -> bool:
        """Whether this thread is inside a transaction."""
        # Another thread inside one holds the mutex.
        with self._mutex:
            return self._depth > 0

    @contextlib.contextmanager
    def alone(self, patience: float | None = None) -> Iterator[None]:
        """Context manager: hold the lock of the folder, waiting for another process that holds it.

        Raises :class:`InUseError` after ``patience`` seconds, and :class:`WriteError` if the folder is not writable.
        """
        with self._mutex:
            if self._locked:
                yield
                return
            with contextlib.ExitStack() as held:
                last = time.monotonic() + (PATIENCE if patience is None else patience)
                while not self._locked:
                    try:
                        held.enter_context(locked(self.folder))
                        self._locked = True
                    except InUseError:
                        if time.monotonic() > last:
                            raise
                        time.sleep(0.02)
                held.callback(setattr, self, "_locked", False)
                yield

    @contextlib.contextmanager
    def transaction(self, *, write: bool, durable: bool = True) -> Iterator[None]:
        """Context manager: one transaction; an exception undoes it. A transaction inside one belongs to it.

        Without ``durable`` a power failure (not a killed process) may undo it; the file stays consistent.
        """
        with self._mutex:
            if self._depth:
                yield
                return
            self._depth = 1
            try:
                with self._errors():
                    if write:
                        self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                    self._connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                yield
                with self._errors():
                    self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    def meta(self, name: str) -> bytes | None:
        """Return a named value."""
        found = self.rows("SELECT value FROM meta WHERE name = ?", (name,))
        return bytes(found[0][0]) if found and isinstance(found[0][0], bytes) else None

    def set_meta(self, name: str, value: bytes) -> None:
        """Store a named value."""
        self.run("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def mark_cleanup(self) -> None:
        """Note, within a transaction that deletes rows, that :meth:`clean` has to follow."""
        self.set_meta(_CLEANUP, b"1")

    def clean(self) -> bool:
        """Remove the traces of deleted rows if there are any; needs :meth:`alone`.

        Returns False if another process reads the log for so long that it cannot be emptied; the next call tries again.
        Raises :class:`WriteError` if the disk is full: the rows are deleted, and traces remain until then.
        """
        with self._mutex, self._errors():
            if self.meta(_CLEANUP) is None:
                return True
            self._connection.execute("PRAGMA synchronous=FULL")
            self._connection.execute("VACUUM")
            if not self.empty_log():
                return False
            self._connection.execute("DELETE FROM meta WHERE name = ?", (_CLEANUP,))
            return True

    def empty_log(self) -> bool:
        """Move the write-ahead log into the database and truncate it; returns False if another process reads it."""
        with self._mutex, self._errors():
            busy, *_ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy

    def copy(self, path: Path) -> None:
        """Write a consistent copy of the database into a new file, readable for its owner only."""
        write_private(path, b"")
        with self._mutex, self._errors():
            self._connection.execute("VACUUM INTO ?", (str(path),))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database, self._errors():
            database.execute("PRAGMA journal_mode=WAL")

    def _connect(self) -> sqlite3.Connection:
        # In a folder without write access, a log cannot be read; without one, the file does not change.
        log = self.path.with_name(f"{DATABASE}-wal")
        still = not self.writable and not (log.exists() and log.stat().st_size)
        query = "" if self.writable else "?immutable=1" if still else "?mode=ro"
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}{query}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=PATIENCE,
        )
        # Text at the place of a sealed record is refused as that record, so that no error quotes it.
        connection.text_factory = lambda text: text.decode("utf-8", "replace")
        for setting in (
            "trusted_schema=OFF",
            "cell_size_check=ON",
            "foreign_keys=ON",
            "secure_delete=ON",
            "temp_store=MEMORY",
            "synchronous=FULL",
        ):
            connection.execute(f"PRAGMA {setting}").fetchall()
        return connection

    def _check_schema(self) -> None:
        found = self._connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        if len(found) != len(_statements()) or {sql for (sql,) in found} != set(_statements()):
            raise FedfrError(
                f"{self.path} is not the database of a gallery, or of another version; restore it from a copy, or "
                "create the gallery again"
            )

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return _reported(self.path)


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Report errors of SQLite in one line."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        kind = None if code is None or code in _UNREADABLE else code & 0xFF
        if kind in _BUSY:
            raise InUseError(f"another process is working on {path.parent}; wait for it or stop it") from error
        if kind == sqlite3.SQLITE_CANTOPEN:
            raise FedfrError(
                f"cannot open {path}: {error}; make the folder and its files readable, and free space"
            ) from error
        if kind in _FULL:
            raise WriteError(
                f"cannot write {path}: {error}; free space or make the folder writable, then repeat this"
            ) from error
        if isinstance(error, sqlite3.ProgrammingError):
            raise FedfrError(f"the gallery {path.parent} is closed; open it again") from error
        raise FedfrError(f"{path} is damaged ({error}); restore it from a copy") from error


def _statements() -> list[str]:
    return [statement.strip() for statement in _SCHEMA.split(";\n") if statement.strip()]
