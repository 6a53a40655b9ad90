"""Photos of the persons of a gallery: features, templates and crops."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces.pixels import IMAGE_SHAPE
from fedfr.recognition.gallery.gallery_types import Features, NewPhoto, StoredPhoto, Templates
from fedfr.recognition.gallery.record_places import (
    crop_place,
    feature_place,
    key_place,
    photo_place,
    template_place,
    templates_of,
)
from fedfr.recognition.gallery.rows import GalleryRows, PersonRow
from fedfr.recognition.gallery.store import now, unit_features

__all__ = ["GalleryPhotos"]


class GalleryPhotos(GalleryRows):
    """Photos, features, templates and crops; every record is sealed with the person's own key."""

    def add_photos(self, person_id: str, photos: Sequence[NewPhoto], space: str | None = None) -> tuple[int, ...]:
        """Add photos of a person and recompute the template; returns the numbers of the photos."""
        with self.change():
            row = self._row(person_id)
            name = self._named(space)
            features = unit_features(
                [photo.feature for photo in photos], self.state.dims.get(name), "the features of photos"
            )
            where = self._space(name, features.shape[1])
            numbers = []
            for photo, feature in zip(photos, features, strict=True):
                number = self._next_row()
                content = {"added": now(), "quality": dict(photo.quality), "digest": photo.digest}
                sealed = row.key.seal_json(content, photo_place(number, person_id))
                self.database.run("INSERT INTO photos VALUES (?, ?, ?)", (number, row.number, sealed))
                if photo.crop is not None:
                    crop = row.key.seal(_pixels(photo.crop), crop_place(number, person_id))
                    self.database.run("INSERT INTO crops VALUES (?, ?)", (number, crop))
                self._add_feature(row, number, where, name, feature)
                numbers.append(number)
            row.profile["photos"] = [*row.profile["photos"], *numbers]
            held_out = [number for photo, number in zip(photos, numbers, strict=True) if photo.held_out]
            row.profile["held_out"] = [*row.held_out, *held_out]
            self._save_profile(row)
            self._update_template(row, where, name)
        return tuple(numbers)

    def put_features(self, space: str, features: Mapping[int, NDArray[np.float32]]) -> None:
        """Store the features of enrolled photos in another space, by photo number; templates there are recomputed."""
        with self.change():
            by_person: dict[str, list[int]] = {}
            for number in features:
                found = self.database.rows(
                    "SELECT p.id FROM photos f JOIN persons p ON p.row = f.person WHERE f.row = ?", (number,)
                )
                if not found:
                    raise FedfrError(f"{self.folder} has no photo {number}; give numbers of enrolled photos")
                by_person.setdefault(found[0][0], []).append(number)
            for person_id, numbers in by_person.items():
                row = self._row(person_id)
                given = unit_features(
                    [features[number] for number in numbers], self.state.dims.get(space), "the features"
                )
                where = self._space(space, given.shape[1])
                for number, feature in zip(numbers, given, strict=True):
                    self.database.run("DELETE FROM features WHERE photo = ? AND space = ?", (number, where))
                    self._add_feature(row, number, where, space, feature)
                self._update_template(row, where, space)

    def remove_photos(self, person_id: str, numbers: Collection[int]) -> None:
        """Remove photos of a person with their features and crops, and recompute the templates."""
        with self.change():
            row = self._row(person_id)
            unknown = sorted(set(numbers) - set(row.profile["photos"]))
            if unknown:
                raise FedfrError(f"person {person_id} has no photo {unknown[0]}; there are {row.profile['photos']}")
            for number in numbers:
                self.database.run("DELETE FROM photos WHERE row = ?", (number,))
            row.forget(set(numbers))
            self._save_profile(row)
            for where, name in self.database.rows(
                "SELECT s.number, s.id FROM templates t JOIN spaces s ON s.number = t.space WHERE t.person = ?",
                (row.number,),
            ):
                self._update_template(row, where, name)
            self.database.mark_cleanup()

    def photos(self, person_id: str) -> list[StoredPhoto]:
        """Return the photos of a person, in the order of enrolment."""
        with self.read():
            row = self._row(person_id)
            found = []
            for number, sealed, crop in self.database.rows(
                "SELECT f.row, f.sealed, c.photo FROM photos f LEFT JOIN crops c ON c.photo = f.row WHERE f.person = ? "
                "ORDER BY f.row",
                (row.number,),
            ):
                content = row.key.open_json(sealed, photo_place(number, person_id))
                held_out = number in row.held_out
                found.append(
                    StoredPhoto(number, content["added"], content["quality"], content["digest"], bool(crop), held_out)
                )
            self._check_photos(row, [photo.number for photo in found])
            if len(found) != len(row.profile["photos"]):
                raise FedfrError(
                    f"{self.folder}: photos of person {row.id} were removed by another program; restore the gallery "
                    "from a copy"
                )
        return found

    def crops(self, person_id: str) -> dict[int, NDArray[np.uint8]]:
        """Return the stored crops (112, 112, 3) of a person by photo number."""
        with self.read():
            row = self._row(person_id)
            found = self.database.rows(
                "SELECT c.photo, c.sealed FROM crops c JOIN photos f ON f.row = c.photo WHERE f.person = ? "
                "ORDER BY c.photo",
                (row.number,),
            )
            self._check_photos(row, [number for number, _ in found])
            opened = {number: row.key.open(sealed, crop_place(number, person_id)) for number, sealed in found}
        return {number: np.frombuffer(pixels, np.uint8).reshape(IMAGE_SHAPE) for number, pixels in opened.items()}

    def features(self, space: str | None = None, person_id: str | None = None) -> Features:
        """Return the features of all photos in a space, or of one person's, in the order of enrolment."""
        with self.read():
            name = self._named(space)
            where, dim = self._space(name), self.state.dims[name]
            ids: list[str] = []
            numbers: list[int] = []
            rows: list[NDArray[np.float32]] = []
            held_out: list[bool] = []
            for row in [self._row(person_id)] if person_id is not None else self._each_person():
                for number, photo, sealed in self._features_of(row, where):
                    rows.append(vector(row.key.open(sealed, feature_place(number, photo, row.id, name)), dim))
                    ids.append(row.id)
                    numbers.append(photo)
                    held_out.append(photo in row.held_out)
        matrix = np.stack(rows) if rows else np.zeros((0, dim), np.float32)
        return Features(tuple(ids), tuple(numbers), matrix, np.array(held_out, np.bool_))

    def templates(self, space: str | None = None) -> Templates:
        """Return the templates of a space (by default the active one), in the order of enrolment.

        Raises :class:`FedfrError` if a record was changed, or rows were added, removed or restored by another program.
        """
        with self.read():
            name = self._named(space)
            where, dim = self._space(name), self.state.dims[name]
            digest, keys = self._digest("persons"), {}
            for row, person_id, wrapped, nonce in self.database.each(
                "SELECT row, id, key, substr(sealed, 1, 12) FROM persons"
            ):
                digest.toggle(row, nonce)
                keys[row] = person_id, wrapped
            self.state.check(digest, "persons", self.folder)
            digest = self._digest(templates_of(name))
            ids: list[str] = []
            # Of hundred thousand persons: bytes are collected, without an array for each.
            content, unwrap = bytearray(), self.key.unwrap
            for row, person, sealed in self.database.each(
                "SELECT row, person, sealed FROM templates WHERE space = ? ORDER BY person", (where,)
            ):
                digest.toggle(row, sealed)
                person_id, wrapped = keys.get(person, ("", None))
                template = unwrap(wrapped, key_place(person_id)).open(sealed, template_place(row, person_id, name))
                content += _whole(template, dim)
                ids.append(person_id)
            self.state.check(digest, templates_of(name), self.folder)
        return Templates(tuple(ids), np.frombuffer(content, np.float32).reshape(-1, dim))

    def _remove_empty_photos(self) -> None:
        empty = "FROM photos WHERE row NOT IN (SELECT photo FROM features) AND row NOT IN (SELECT photo FROM crops)"
        persons = self.database.rows(
            f"SELECT DISTINCT p.id FROM persons p JOIN (SELECT person {empty}) f ON f.person = p.row"
        )
        gone = {number for (number,) in self.database.rows(f"SELECT row {empty}")}
        for (person_id,) in persons:
            row = self._row(person_id)
            row.forget(gone)
            self._save_profile(row)
        self.database.run(f"DELETE {empty}")

    def _add_feature(self, row: PersonRow, photo: int, where: int, space: str, feature: NDArray[np.float32]) -> None:
        number = self._next_row()
        sealed = row.key.seal(feature.tobytes(), feature_place(number, photo, row.id, space))
        self.database.run("INSERT INTO features VALUES (?, ?, ?, ?)", (number, photo, where, sealed))

    def _features_of(self, row: PersonRow, where: int) -> list[tuple[Any, ...]]:
        """Return number, photo and sealed feature of each photo of a person in a space."""
        found = self.database.rows(
            "SELECT e.row, e.photo, e.sealed FROM features e JOIN photos f ON f.row = e.photo WHERE f.person = ? AND "
            "e.space = ? ORDER BY f.row",
            (row.number, where),
        )
        self._check_photos(row, [photo for _, photo, _ in found])
        return found

    def _update_template(self, row: PersonRow, where: int, space: str) -> None:
        """Replace the template of a person: the mean of the photos' unit features, divided by its length.

        Held-out photos are left out.
        """
        old = self.database.rows(
            "SELECT row, sealed FROM templates WHERE person = ? AND space = ?", (row.number, where)
        )
        self._toggle(templates_of(space), old)
        self.database.run("DELETE FROM templates WHERE person = ? AND space = ?", (row.number, where))
        dim = self.state.dims[space]
        features = [
            vector(row.key.open(sealed, feature_place(number, photo, row.id, space)), dim)
            for number, photo, sealed in self._features_of(row, where)
            if photo not in row.held_out
        ]
        if not features:
            return
        mean = np.mean(np.stack(features), axis=0, dtype=np.float64)
        length = np.linalg.norm(mean)
        if length < 1e-6:
            raise FedfrError(f"the features of person {row.id} cancel each other out; remove the photos of others")
        number = self._next_row()
        sealed = row.key.seal((mean / length).astype(np.float32).tobytes(), template_place(number, row.id, space))
        self.database.run("INSERT INTO templates VALUES (?, ?, ?, ?)", (number, row.number, where, sealed))
        self._toggle(templates_of(space), [(number, sealed)])


def vector(content: bytes, dim: int) -> NDArray[np.float32]:
    """Return a stored feature; raises :class:`FedfrError` if it has another length than its space."""
    return np.frombuffer(_whole(content, dim), np.float32)


def _whole(content: bytes, dim: int) -> bytes:
    if len(content) != 4 * dim:
        raise FedfrError(f"a stored feature has {len(content)} bytes, and its space {dim} numbers; restore the gallery")
    return content


def _pixels(crop: NDArray[np.uint8]) -> bytes:
    if crop.shape != IMAGE_SHAPE or crop.dtype != np.uint8:
        raise FedfrError(f"a crop is {crop.dtype} of shape {crop.shape}; give uint8 of shape {IMAGE_SHAPE}")
    return crop.tobytes()
