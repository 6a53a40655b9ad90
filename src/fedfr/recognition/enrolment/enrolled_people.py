"""Changes of enrolled people for which no image is looked at."""

from __future__ import annotations

import re
from dataclasses import replace

from fedfr.core.errors import FedfrError, WriteError
from fedfr.recognition.calibration.recalibration import recalibrate
from fedfr.recognition.gallery.gallery import Gallery
from fedfr.recognition.gallery.gallery_types import Person, Removal

__all__ = ["EnrolledPeople"]

_ID = re.compile("[0-9a-f]{12}")


class EnrolledPeople:
    """People of a gallery by name; thresholds are calibrated again, and the journal is kept, with every change."""

    gallery: Gallery

    def persons(self) -> list[Person]:
        """Return the enrolled people, in the order of enrolment."""
        return self.gallery.persons()

    def add_person(self, name: str) -> Person:
        """Add a person without photos, who is recognized once there are some."""
        with self.gallery.change():
            person = self.gallery.add_person(name)
            self.gallery.journal.append("enrol", person=self.gallery.pseudonym(person.id))
        return person

    def rename(self, name: str, new: str) -> Person:
        """Give a person another name."""
        with self.gallery.change():
            person = self.gallery.rename(self._person(name).id, new)
            self.gallery.journal.append("rename", person=self.gallery.pseudonym(person.id))
        return person

    def remove(self, name: str) -> Removal:
        """Remove a person with templates, photos, name and key; thresholds are calibrated for those who remain.

        ``name`` may be the person's id, so that somebody whose records are damaged can be removed, too.
        """
        with self.gallery.change():
            known = self.gallery.find(name) is not None or not _ID.fullmatch(name)
            removal = self.remove_by_id(self._person(name).id if known else name)
        return replace(removal, cleared=self.gallery.cleared)

    def remove_by_id(self, person_id: str) -> Removal:
        """Remove the person with this id, as :meth:`remove` does; nobody is looked for by name."""
        with self.gallery.change():
            removal = self.gallery.remove(person_id)
            calibrated = self._recalibrate()
            self.gallery.journal.append("remove")
        return replace(removal, cleared=self.gallery.cleared, calibrated=calibrated)

    def remove_photo(self, name: str, number: int) -> Person:
        """Remove one photo of a person; thresholds are calibrated for the photos that remain."""
        with self.gallery.change():
            person = self._person(name)
            self.gallery.remove_photos(person.id, [number])
            self._recalibrate()
            self.gallery.journal.append("remove", "partial", person=self.gallery.pseudonym(person.id))
            return self.gallery.person(person.id)

    def _recalibrate(self) -> bool:
        """Calibrate those who remain; return whether it was possible.

        Damaged or missing strangers must not keep anybody in the gallery: without thresholds nothing is decided.
        """
        space = self.gallery.active_space
        if space is None:
            return True
        try:
            recalibrate(self.gallery, space)
        except WriteError:
            raise
        except FedfrError:
            self.gallery.set_calibration(space, None)
            return False
        return True

    def _person(self, name: str) -> Person:
        found = self.gallery.find(name)
        if found is None:
            raise FedfrError(f"nobody called {name!r} is enrolled in {self.gallery.folder}; check the name")
        return found
