"""Persons of a gallery: enrolment, names, removal."""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Sequence

from fedfr.core.errors import FedfrError
from fedfr.faces.name_matching import normalized_name, quoted_name
from fedfr.recognition.gallery.encryption import DataKey
from fedfr.recognition.gallery.gallery_types import NewPhoto, Person, Removal
from fedfr.recognition.gallery.person_photos import GalleryPhotos
from fedfr.recognition.gallery.record_places import key_place, profile_place, templates_of
from fedfr.recognition.gallery.store import now

__all__ = ["RESERVED_NAME", "GalleryPeople", "check_name"]

RESERVED_NAME = "unknown"
_LONGEST_NAME = 100


class GalleryPeople(GalleryPhotos):
    """Persons by id and by name."""

    def persons(self) -> list[Person]:
        """Return all enrolled persons, in the order of enrolment."""
        with self.read():
            digest, found = self._digest("persons"), []
            for row in self._each_person():
                digest.toggle(row.number, row.sealed)
                found.append(row.person)
            self.state.check(digest, "persons", self.folder)
        return found

    def count(self) -> int:
        """Return the number of enrolled persons."""
        return int(self.database.rows("SELECT count(*) FROM persons")[0][0])

    def person(self, person_id: str) -> Person:
        """Return a person by id; raises :class:`FedfrError` if nobody has it."""
        with self.read():
            return self._row(person_id).person

    def holds(self, person_id: str) -> bool:
        """Return whether somebody has this id; the records are not opened and may be damaged."""
        return bool(self.database.rows("SELECT 1 FROM persons WHERE id = ?", (person_id,)))

    def find(self, name: str) -> Person | None:
        """Return the person whose name is the same or looks the same, or None."""
        with self.read():
            tag = self.key.name_tag(normalized_name(name))
            found = self.database.rows("SELECT id FROM persons WHERE tag = ?", (tag,))
            if not found:
                return None
            person = self._row(found[0][0]).person
            if normalized_name(person.name) != normalized_name(name):
                raise FedfrError(
                    f"{self.folder}: the record persons.tag of person {person.id} was changed; restore the gallery "
                    "from a copy"
                )
            return person

    def pseudonym(self, person_id: str) -> str:
        """Return the name by which the journal knows a person: random, and destroyed with the person."""
        with self.read():
            return str(self._row(person_id).profile["pseudonym"])

    def add_person(self, name: str, photos: Sequence[NewPhoto] = (), space: str | None = None) -> Person:
        """Enrol a new person, with photos in ``space`` (by default the active one).

        Raises :class:`FedfrError` for a name that is not allowed, or that an enrolled person has or nearly has.
        """
        shown = check_name(name)
        with self.change():
            self._refuse_taken(shown)
            row, person_id, key = self._next_row(), secrets.token_hex(6), DataKey.new(self.folder)
            profile = {"name": shown, "pseudonym": secrets.token_hex(6), "added": now(), "photos": []}
            sealed = key.seal_json(profile, profile_place(row, person_id))
            self.database.run(
                "INSERT INTO persons VALUES (?, ?, ?, ?, ?)",
                (row, person_id, self._tag(shown), self.key.wrap(key, key_place(person_id)), sealed),
            )
            self._toggle("persons", [(row, sealed)])
            if photos:
                self.add_photos(person_id, photos, space)
            return self.person(person_id)

    def rename(self, person_id: str, name: str) -> Person:
        """Give a person another name; raises :class:`FedfrError` as :meth:`add_person` does."""
        shown = check_name(name)
        with self.change():
            row = self._row(person_id)
            if normalized_name(shown) != normalized_name(row.profile["name"]):
                self._refuse_taken(shown)
            row.profile["name"] = shown
            self._save_profile(row)
            self.database.run("UPDATE persons SET tag = ? WHERE row = ?", (self._tag(shown), row.number))
            self.database.mark_cleanup()
            return row.person

    def remove(self, person_id: str) -> Removal:
        """Remove a person: key, name, photos, features, templates, crops, and the link to the journal.

        The files hold no trace of the person afterwards: the database is written anew and its log emptied.
        """
        with self.change():
            # A person whose records are damaged can be removed, too.
            found = self.database.rows("SELECT row, sealed FROM persons WHERE id = ?", (person_id,))
            if not found:
                raise self._nobody(person_id)
            row, sealed = found[0]
            self._toggle("persons", [(row, sealed)])
            for template, where, content in self.database.rows(
                "SELECT t.row, s.id, t.sealed FROM templates t JOIN spaces s ON s.number = t.space WHERE t.person = ?",
                (row,),
            ):
                self._toggle(templates_of(where), [(template, content)])
            photos, crops = self.database.rows(
                "SELECT count(*), count(c.photo) FROM photos f LEFT JOIN crops c ON c.photo = f.row WHERE f.person = ?",
                (row,),
            )[0]
            self.database.run("DELETE FROM persons WHERE row = ?", (row,))
            self.database.mark_cleanup()
        return Removal(person_id, photos, crops, self._cleared)

    def _tag(self, name: str) -> bytes:
        return self.key.name_tag(normalized_name(name))

    def _refuse_taken(self, name: str) -> None:
        if self.holds(normalized_name(name)):
            raise FedfrError(f"nobody can be called {name!r}: it is the id of somebody else; choose another name")
        same = self.find(name)
        if same is not None:
            raise FedfrError(
                f"{quoted_name(same.name)} is enrolled already in {self.folder} (id {same.id})"
                + ("" if same.name == name else f", and {quoted_name(name)} looks the same")
                + "; add photos to that person, or choose another name"
            )


def check_name(name: str) -> str:
    """Return a person's name with plain blanks, none around it; raises :class:`FedfrError` if it is not allowed."""
    shown = "".join(" " if unicodedata.category(sign) == "Zs" else sign for sign in name).strip()
    wrong = ""
    if not shown:
        wrong = "is empty"
    elif len(shown) > _LONGEST_NAME:
        wrong = f"has {len(shown)} characters"
    elif any(unicodedata.category(sign) == "Cs" for sign in shown):
        wrong = "has bytes that are not UTF-8"
    elif not shown.isprintable():
        first = next(sign for sign in shown if not sign.isprintable())
        wrong = f"has the unprintable character U+{ord(first):04X}"
    if wrong:
        raise FedfrError(f"the name {name[:_LONGEST_NAME]!r} {wrong}; give 1 to {_LONGEST_NAME} printable characters")
    if normalized_name(shown) == normalized_name(RESERVED_NAME):
        raise FedfrError(f"nobody can be called {shown!r}: other programs call strangers so; choose another name")
    return shown
