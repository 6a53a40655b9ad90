"""Rows of the persons of a gallery, opened with their data keys."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.recognition.gallery.encryption import DataKey
from fedfr.recognition.gallery.gallery_types import Person
from fedfr.recognition.gallery.record_places import key_place, profile_place
from fedfr.recognition.gallery.spaces import GallerySpaces

__all__ = ["GalleryRows", "PersonRow"]


@dataclass
class PersonRow:
    """A person's row with the opened data key and profile (name, pseudonym, time, photos)."""

    number: int
    id: str
    key: DataKey
    sealed: bytes
    profile: dict[str, Any]

    @property
    def person(self) -> Person:
        """The person, as the gallery returns it."""
        profile = self.profile
        return Person(self.id, profile["name"], profile["added"], tuple(profile["photos"]))

    @property
    def held_out(self) -> list[int]:
        """Numbers of the photos that are in no template."""
        numbers: list[int] = self.profile.get("held_out", [])
        return numbers

    def forget(self, photos: Collection[int]) -> None:
        """Remove photos from the profile."""
        for part in ("photos", "held_out"):
            self.profile[part] = [number for number in self.profile.get(part, []) if number not in photos]


class GalleryRows(GallerySpaces):
    """Rows of persons."""

    def _row(self, person_id: str) -> PersonRow:
        """Return the opened row of a person; raises :class:`FedfrError` if nobody has the id."""
        found = self.database.rows("SELECT row, id, key, sealed FROM persons WHERE id = ?", (person_id,))
        if not found:
            raise self._nobody(person_id)
        return self._opened(*found[0])

    def _nobody(self, person_id: str) -> FedfrError:
        return FedfrError(f"nobody with the id {person_id!r} is enrolled in {self.folder}; list the gallery")

    def _each_person(self) -> Iterator[PersonRow]:
        for found in self.database.each("SELECT row, id, key, sealed FROM persons ORDER BY row"):
            yield self._opened(*found)

    def _opened(self, number: int, person_id: str, wrapped: object, sealed: bytes) -> PersonRow:
        key = self.key.unwrap(wrapped, key_place(person_id))
        return PersonRow(number, person_id, key, sealed, key.open_json(sealed, profile_place(number, person_id)))

    def _save_profile(self, row: PersonRow) -> None:
        """Seal the profile of a person again after a change."""
        sealed = row.key.seal_json(row.profile, profile_place(row.number, row.id))
        self._toggle("persons", [(row.number, row.sealed), (row.number, sealed)])
        self.database.run("UPDATE persons SET sealed = ? WHERE row = ?", (sealed, row.number))
        row.sealed = sealed

    def _check_photos(self, row: PersonRow, numbers: Iterable[int]) -> None:
        """Raise :class:`FedfrError` if one of the photos is none of the person's."""
        foreign = sorted(set(numbers) - set(row.profile["photos"]))
        if foreign:
            raise FedfrError(
                f"{self.folder}: photo {foreign[0]} of person {row.id} was added by another program; restore the "
                "gallery from a copy"
            )
