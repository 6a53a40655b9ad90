"""Change of a gallery's key: every data key is replaced and every record sealed anew."""

from __future__ import annotations

from collections.abc import Callable

from fedfr.faces.name_matching import normalized_name
from fedfr.recognition.gallery.encryption import Cipher, DataKey, SiteKey
from fedfr.recognition.gallery.journal import reseal_journal
from fedfr.recognition.gallery.persons import GalleryPeople
from fedfr.recognition.gallery.record_places import (
    block_place,
    calibration_place,
    crop_place,
    feature_place,
    key_place,
    photo_place,
    profile_place,
    strangers_of,
    template_place,
    templates_of,
)
from fedfr.recognition.gallery.rows import PersonRow
from fedfr.recognition.gallery.sealed_state import RowDigest
from fedfr.recognition.gallery.spaces import STRANGER_KINDS
from fedfr.recognition.gallery.store import NEW_KEY_FILE, settle_key_files, stored_key_id

__all__ = ["GalleryRekey"]


class GalleryRekey(GalleryPeople):
    """Change of the key."""

    def rekey(self, passphrase: str | None = None, within: Callable[[], object] = lambda: None) -> None:
        """Replace the key of the gallery by a new random one, or by one derived from ``passphrase``.

        ``within`` is called at the end of the change, for an entry of the journal.

        All data keys are replaced, too: neither does the old key open what the files hold afterwards, nor the new key
        an older copy. Another process that has the gallery open continues with a key file; with a passphrase it has to
        open the gallery again. Raises :class:`FedfrError` if a record was changed by another program.
        """
        with self.database.alone():
            settle_key_files(self.folder, self.database)
            old, new = self.key, SiteKey.create(self.folder / NEW_KEY_FILE, passphrase)
            try:
                with self.change():
                    self.reseal(new)
                    within()
            finally:
                # The database says which key is in use, also if its disk is full now.
                self.key = new if stored_key_id(self.database) == new.id else old
                settle_key_files(self.folder, self.database)

    def reseal(self, new: SiteKey) -> None:
        """Seal everything with another key and with new data keys, within a change."""
        self._check_all()
        reseal_journal(self, new)
        digests: dict[str, RowDigest] = {}

        def count(table: str, row: int, sealed: bytes) -> None:
            digests.setdefault(table, RowDigest(new.mac_key("rows"), table)).toggle(row, sealed)

        for (person_id,) in self.database.rows("SELECT id FROM persons ORDER BY row"):
            row, key = self._row(person_id), DataKey.new(self.folder)
            sealed = key.seal_json(row.profile, profile_place(row.number, row.id))
            self.database.run(
                "UPDATE persons SET key = ?, tag = ?, sealed = ? WHERE row = ?",
                (
                    new.wrap(key, key_place(row.id)),
                    new.name_tag(normalized_name(row.profile["name"])),
                    sealed,
                    row.number,
                ),
            )
            count("persons", row.number, sealed)
            self._reseal_photos(row, key)
            for number, space, content in self.database.rows(
                "SELECT t.row, s.id, t.sealed FROM templates t JOIN spaces s ON s.number = t.space WHERE t.person = ?",
                (row.number,),
            ):
                place = template_place(number, row.id, space)
                count(templates_of(space), number, self._again("templates", number, content, row.key, key, place))
        old_rows, new_rows = self.key.cipher("rows"), new.cipher("rows")
        for number, space, content in self.database.rows(
            "SELECT c.row, s.id, c.sealed FROM calibrations c JOIN spaces s ON s.number = c.space"
        ):
            place = calibration_place(number, space)
            count("calibrations", number, self._again("calibrations", number, content, old_rows, new_rows, place))
        for number, block, kind, space in self.database.rows(
            "SELECT b.row, b.number, b.kind, s.id FROM blocks b JOIN spaces s ON s.number = b.space"
        ):
            [(content,)] = self.database.rows("SELECT sealed FROM blocks WHERE row = ?", (number,))
            place = block_place(number, kind, block, space)
            count(strangers_of(kind, space), number, self._again("blocks", number, content, old_rows, new_rows, place))
        self.state.digests = {table: digest.value for table, digest in digests.items()}
        self.database.set_meta("key", new.id.encode())
        self.key = new
        self.database.mark_cleanup()

    def _check_all(self) -> None:
        """Raise :class:`FedfrError` if rows were changed by another program: sealing them would hide it."""
        self.persons()
        for space in self.spaces():
            self.templates(space)
            self.calibration(space)
            self.trained(space)
            for kind in STRANGER_KINDS:
                self.strangers(space, kind)

    def _reseal_photos(self, row: PersonRow, key: DataKey) -> None:
        for (number,) in self.database.rows("SELECT row FROM photos WHERE person = ? ORDER BY row", (row.number,)):
            [(content,)] = self.database.rows("SELECT sealed FROM photos WHERE row = ?", (number,))
            self._again("photos", number, content, row.key, key, photo_place(number, row.id))
            for (crop,) in self.database.rows("SELECT sealed FROM crops WHERE photo = ?", (number,)):
                self._again("crops", number, crop, row.key, key, crop_place(number, row.id))
            for feature, space, content in self.database.rows(
                "SELECT e.row, s.id, e.sealed FROM features e JOIN spaces s ON s.number = e.space WHERE e.photo = ?",
                (number,),
            ):
                place = feature_place(feature, number, row.id, space)
                self._again("features", feature, content, row.key, key, place)

    def _again(self, table: str, row: int, sealed: object, old: Cipher, new: Cipher, place: str) -> bytes:
        """Seal a record with another key; returns it."""
        again = new.seal(old.open(sealed, place), place)
        column = "photo" if table == "crops" else "row"
        self.database.run(f"UPDATE {table} SET sealed = ? WHERE {column} = ?", (again, row))
        return again
