"""Gallery: the folder of enrolled people, with everything about them sealed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fedfr.core.errors import FedfrError, InUseError, WriteError
from fedfr.core.files import make_folder, write_folder_atomically
from fedfr.core.locks import locked
from fedfr.core.secret_files import write_private
from fedfr.core.settings import validate
from fedfr.recognition.gallery.database import DATABASE, FORMAT, Database
from fedfr.recognition.gallery.encryption import SiteKey
from fedfr.recognition.gallery.gallery_settings import (
    SETTINGS_FILE,
    GallerySettings,
    read_gallery_settings,
    shown_value,
    write_gallery_settings,
)
from fedfr.recognition.gallery.journal import Journal
from fedfr.recognition.gallery.rekey import GalleryRekey
from fedfr.recognition.gallery.sealed_state import GalleryState
from fedfr.recognition.gallery.store import (
    COPY_FOLDER,
    KEY_FILE,
    NEW_KEY_FILE,
    find_key,
    settle_key_files,
    stored_key_id,
)

__all__ = ["Gallery"]

_DATABASE_FILES = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm")
# Secrets of this machine (keys, tokens of a service) are not part of a copy, nor is what a link or a person put there.
_COPIED = (SETTINGS_FILE, "*.onnx", "models/*.onnx", "models/*.safetensors")


class Gallery(GalleryRekey):
    """Folder of enrolled people: ``gallery.yaml`` (settings), ``site.key`` and ``gallery.db``; a context manager.

    Names, features, quality measures, crops, calibrations, strangers and the journal are sealed with AES-256-GCM; each
    person has a key of its own, which is destroyed with the person. Several processes can read a gallery at once; one
    at a time changes it, and the others wait. Methods are usable from several threads.
    """

    def __init__(self, folder: Path, key: SiteKey, database: Database, settings: GallerySettings) -> None:
        super().__init__(folder, key, database)
        self.settings = self._written = settings
        self.journal = Journal(self, lambda: self.settings.journal_days)

    @classmethod
    def create(cls, folder: Path, settings: GallerySettings | None = None, passphrase: str | None = None) -> Gallery:
        """Create an empty gallery in ``folder``, with a new key or one derived from ``passphrase``.

        Raises :class:`FedfrError` if the folder holds a gallery, or a part of one.
        """
        for name in (SETTINGS_FILE, KEY_FILE, NEW_KEY_FILE, DATABASE):
            if (folder / name).exists():
                raise FedfrError(f"{folder / name} exists already; open that gallery, or name a new folder")
        chosen = settings or GallerySettings()
        if not folder.exists():
            make_folder(folder, 0o700)
        with locked(folder):
            try:
                key = SiteKey.create(folder / KEY_FILE, passphrase)
                database = Database.create(folder)
                gallery = cls(folder, key, database, chosen)
                with database.transaction(write=True):
                    database.set_meta("format", FORMAT)
                    database.set_meta("key", key.id.encode())
                    database.set_meta("state", GalleryState(settings=chosen.model_dump()).seal(key))
                # Last, because without it the folder is not a gallery.
                write_gallery_settings(folder, chosen)
            except BaseException:
                for name in (KEY_FILE, *_DATABASE_FILES):
                    (folder / name).unlink(missing_ok=True)
                raise
        return gallery

    @classmethod
    def open(cls, folder: Path, passphrase: str | None = None) -> Gallery:
        """Open a gallery; what a killed process began is finished or undone first.

        Raises :class:`FedfrError` if ``folder`` is no gallery, a file is damaged, the key is readable by other users or
        belongs to another gallery, or the passphrase is wrong.
        """
        settings = read_gallery_settings(folder)
        database = Database(folder)
        try:
            if database.writable:
                # First, because an interrupted change of the key decides which passphrase is needed.
                with contextlib.suppress(InUseError, WriteError), database.alone(patience=0):
                    settle_key_files(folder, database)
            gallery = cls(folder, find_key(folder, stored_key_id(database), passphrase), database, settings)
            if database.writable:
                gallery._settle()
            with gallery.read():
                pass
        except BaseException:
            database.close()
            raise
        return gallery

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def reload_settings(self) -> GallerySettings:
        """Read ``gallery.yaml`` again, and return the settings in force; see :attr:`unconfirmed`."""
        self._written = read_gallery_settings(self.folder)
        with self.read():
            return self.settings

    @property
    def unconfirmed(self) -> dict[str, str]:
        """Settings that are not in force as ``gallery.yaml`` has them, with a sentence that says so.

        The file can be changed without the key; the settings in force are sealed, and only :meth:`change_settings` and
        :meth:`seal_settings` change them.
        """
        written, force = self._written.model_dump(), self.settings.model_dump()
        return {
            name: f"{SETTINGS_FILE} has {name}: {shown_value(value)}, and {shown_value(force[name])} is in force"
            for name, value in written.items()
            if value != force[name]
        }

    def change_settings(self, **values: Any) -> GallerySettings:
        """Change settings, in ``gallery.yaml`` and in force; raises :class:`FedfrError` if a name or value is wrong.

        Other settings stay as they are in both.
        """
        where = str(self.folder / SETTINGS_FILE)
        with self.database.alone():
            current = read_gallery_settings(self.folder)
            changed = validate(GallerySettings, {**current.model_dump(), **values}, where)
            with self.read():
                force = self.settings.model_copy(update={name: getattr(changed, name) for name in values})
            if force != self.settings:
                self.seal_settings(force)
            write_gallery_settings(self.folder, changed)
            self._written = changed
        return self.settings

    def seal_settings(self, settings: GallerySettings) -> None:
        """Set the settings in force, within a change; ``gallery.yaml`` is not written."""
        with self.change():
            self.state.settings = settings.model_dump()
            self.settings = settings

    def _refresh(self) -> None:
        super()._refresh()
        sealed = self.state.settings
        if sealed is None:
            self.settings = self._written
        elif sealed != self.settings.model_dump():
            self.settings = validate(GallerySettings, sealed, f"the settings sealed in {self.folder / DATABASE}")

    def export(self, target: Path, passphrase: str) -> None:
        """Write a copy of the gallery into a new folder, with a key of its own that is derived from ``passphrase``.

        It contains everything, models and journal included, and is opened like any gallery, also on another machine.
        Raises :class:`FedfrError` if ``target`` exists, and :class:`WriteError` if the disk is full.
        """
        if target.absolute().is_relative_to(self.folder.absolute()):
            raise FedfrError(f"{target} is inside the gallery {self.folder}; choose a folder outside")

        def fill(folder: Path) -> None:
            folder.chmod(0o700)
            for path in sorted(path for pattern in _COPIED for path in self.folder.glob(pattern)):
                if path.is_file() and not path.is_symlink():
                    made = folder / path.relative_to(self.folder)
                    made.parent.mkdir(exist_ok=True)
                    shutil.copyfile(path, made)
            with self._resealed(SiteKey.create(folder / KEY_FILE, passphrase), folder) as database:
                write_private(folder / DATABASE, database.read_bytes())

        write_folder_atomically(target, fill)

    @contextlib.contextmanager
    def _resealed(self, new: SiteKey, other: Path) -> Iterator[Path]:
        """Yield the path of a copy of the database that is sealed with another key.

        Until then the copy can be opened with the key of this gallery, so it is made in this folder, where the next
        opening removes what a killed process left; in ``other`` only if this folder cannot be written.
        """
        with contextlib.ExitStack() as held:
            if self.writable:
                held.enter_context(self.database.alone())
            work = (self.folder if self.writable else other) / COPY_FOLDER
            shutil.rmtree(work, ignore_errors=True)
            held.callback(shutil.rmtree, work, ignore_errors=True)
            work.mkdir(0o700)
            self.database.copy(work / DATABASE)
            database = Database(work)
            with contextlib.closing(database):
                copy = GalleryRekey(work, self.key, database)
                with copy.change():
                    copy.reseal(new)
            yield work / DATABASE
