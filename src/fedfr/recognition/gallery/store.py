"""Sealed rows of a gallery: key, state and changes that are made as a whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError, InUseError, WriteError
from fedfr.core.files import move_folder
from fedfr.recognition.gallery.database import FORMAT, Database
from fedfr.recognition.gallery.encryption import SiteKey
from fedfr.recognition.gallery.sealed_state import GalleryState, RowDigest

__all__ = ["COPY_FOLDER", "KEY_FILE", "NEW_KEY_FILE", "GalleryStore", "now", "unit_features"]

KEY_FILE = "site.key"
NEW_KEY_FILE = "site.key.new"
"""Key of a rekey that is not finished: it takes the place of the old one as soon as the database is sealed with it."""
COPY_FOLDER = ".copy.tmp"
"""Folder of a copy of the database that is being sealed with another key."""


class GalleryStore:
    """Database of a gallery with its key. Methods are usable from several threads."""

    def __init__(self, folder: Path, key: SiteKey, database: Database) -> None:
        self.folder = folder
        self.key = key
        self.database = database
        self.state = GalleryState()
        self._writing = False
        self._cleared = True

    def close(self) -> None:
        """Close the files; the gallery cannot be used afterwards."""
        self.database.close()

    @property
    def revision(self) -> int:
        """Number that grows with every change of persons, templates, strangers or calibrations, by any process."""
        with self.read():
            return self.state.revision

    @property
    def cleared(self) -> bool:
        """Whether the last change left no traces of deleted records in the files."""
        return self._cleared

    @property
    def writable(self) -> bool:
        """Whether the folder can be written."""
        return self.database.writable

    @contextlib.contextmanager
    def read(self) -> Iterator[None]:
        """Context manager: what is read inside is of one moment."""
        if self.database.changing:
            yield
            return
        with self.database.transaction(write=False):
            self._refresh()
            yield

    @contextlib.contextmanager
    def change(self, patience: float | None = None) -> Iterator[None]:
        """Context manager: all changes inside are made together, or none if there is an exception or the process ends.

        Changes inside a change belong to it. ``patience``: seconds to wait for another process, by default half a
        minute. Raises :class:`InUseError` if another process works on the gallery for longer, and :class:`WriteError`
        if it cannot be written.
        """
        database = self.database
        if database.changing:
            if not self._writing:
                raise RuntimeError("a gallery is changed while it is read; use change() for both")
            yield
            return
        with database.alone(patience):
            try:
                with database.transaction(write=True):
                    self._refresh()
                    self._writing = True
                    yield
                    self.state.revision += 1
                    self._save_state()
            except BaseException:
                # What was written for the change may be in the log.
                with contextlib.suppress(FedfrError):
                    database.empty_log()
                raise
            finally:
                self._writing = False
            self._clean()

    @contextlib.contextmanager
    def note(self) -> Iterator[None]:
        """Context manager: one transaction for entries of the journal, beside the changes of another process.

        Inside a change it belongs to it. A power failure may undo the last ones, as a whole.
        """
        if self.database.changing:
            if not self._writing:
                raise RuntimeError("the journal is written while the gallery is read; use change() for both")
            yield
            return
        with self.database.transaction(write=True, durable=False):
            self._refresh()
            yield
            self._save_state()

    def _clean(self) -> None:
        try:
            self._cleared = False
            self._cleared = self.database.clean()
        except InUseError:
            # The change is made; its traces are removed after the next one, or at the next opening.
            return
        except WriteError as error:
            raise WriteError(
                f"the change of {self.folder} is stored, but sealed traces of what was deleted remain in its files "
                f"({error.__cause__}); free space, then open the gallery again"
            ) from error

    def _settle(self) -> None:
        """Finish what a killed process began, unless another process is at work or the folder cannot be written."""
        with contextlib.suppress(FedfrError), self.database.alone(patience=0):
            shutil.rmtree(self.folder / COPY_FOLDER, ignore_errors=True)
            if self.database.clean():
                self.database.empty_log()

    def _refresh(self) -> None:
        """Read the state; another process may have changed the gallery, or its key."""
        key_id = stored_key_id(self.database)
        if key_id != self.key.id:
            self.key = find_key(self.folder, key_id, None)
        self.state = GalleryState.open(self.database.meta("state"), self.key.cipher("state"))

    def _save_state(self) -> None:
        self.database.set_meta("state", self.state.seal(self.key))

    def _next_row(self) -> int:
        row = self.state.next_row
        self.state.next_row += 1
        return row

    def _digest(self, table: str) -> RowDigest:
        return RowDigest(self.key.mac_key("rows"), table)

    def _toggle(self, table: str, rows: Iterable[tuple[int, object]]) -> None:
        """Note that rows of a table were added, or were removed."""
        digest = self._digest(table)
        for row, sealed in rows:
            digest.toggle(row, sealed)
        self.state.digests[table] = digest.combine(self.state.digests.get(table, ""))


def stored_key_id(database: Database) -> str:
    """Return the id of the key with which a database is sealed; raises :class:`FedfrError` for another version."""
    if database.meta("format") != FORMAT:
        raise FedfrError(f"{database.path} is of another version, or was never finished; create the gallery again")
    return (database.meta("key") or b"").decode("ascii", "replace")


def find_key(folder: Path, key_id: str, passphrase: str | None) -> SiteKey:
    """Return the key with which a gallery is sealed, also while another process changes the key."""
    if not _has_id(folder / KEY_FILE, key_id) and _has_id(folder / NEW_KEY_FILE, key_id):
        return SiteKey.open(folder / NEW_KEY_FILE, passphrase)
    key = SiteKey.open(folder / KEY_FILE, passphrase)
    if key.id != key_id:
        raise FedfrError(
            f"{folder / KEY_FILE} is the key {key.id[:8]}, and the gallery is sealed with {key_id[:8]!r}; restore the "
            "key that belongs to it"
        )
    return key


def settle_key_files(folder: Path, database: Database) -> None:
    """Finish or undo a change of the key that was interrupted; the database says which key is in use.

    Needs the lock of the folder.
    """
    for leftover in folder.glob(".site.key*.tmp"):
        leftover.unlink()
    new, key_id = folder / NEW_KEY_FILE, stored_key_id(database)
    # In this order: the id in a file for a passphrase is only claimed, and must not replace the key that fits.
    if _has_id(folder / KEY_FILE, key_id):
        new.unlink(missing_ok=True)
    elif _has_id(new, key_id):
        move_folder(new, folder / KEY_FILE)


def _has_id(path: Path, key_id: str) -> bool:
    """Return whether a file holds the key with this id."""
    try:
        return path.exists() and SiteKey.read_id(path) == key_id
    except FedfrError:
        return False


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def unit_features(features: object, dim: int | None, what: str) -> NDArray[np.float32]:
    """Return features (N, D) as float32; raises :class:`FedfrError` if they are not finite or not of length 1."""
    given = np.asarray(features)
    if given.dtype.kind != "f" or given.ndim != 2 or not given.shape[1] or (dim or given.shape[1]) != given.shape[1]:
        raise FedfrError(f"{what} are {given.dtype} of shape {given.shape}; give float32 of shape (N, {dim or 'D'})")
    single = np.ascontiguousarray(given, np.float32)
    lengths = np.linalg.norm(single.astype(np.float64), axis=1)
    if not np.all(np.abs(lengths - 1) < 1e-3):
        raise FedfrError(f"{what} are not unit features; divide each by its length, and leave out those that are zero")
    return single
