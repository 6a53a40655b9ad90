"""Bytes by which an enrolled person could be found in the files of a gallery."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

from fedfr.recognition.gallery.gallery import Gallery

__all__ = ["plain_pieces", "sealed_pieces"]

_OF_PERSON = {
    "persons.key": "SELECT key FROM persons WHERE id = :id",
    "persons.tag": "SELECT tag FROM persons WHERE id = :id",
    "persons.sealed": "SELECT sealed FROM persons WHERE id = :id",
    "id": "SELECT CAST(id AS BLOB) FROM persons WHERE id = :id",
    "photos": "SELECT f.sealed FROM photos f JOIN persons p ON p.row = f.person WHERE p.id = :id",
    "crops": "SELECT c.sealed FROM crops c JOIN photos f ON f.row = c.photo JOIN persons p ON p.row = f.person "
    "WHERE p.id = :id",
    "features": "SELECT e.sealed FROM features e JOIN photos f ON f.row = e.photo JOIN persons p ON p.row = f.person "
    "WHERE p.id = :id",
    "templates": "SELECT t.sealed FROM templates t JOIN persons p ON p.row = t.person WHERE p.id = :id",
}


def sealed_pieces(folder: Path, person_id: str) -> dict[str, bytes]:
    """Beginning, middle and end of every record of a person as it lies in the database."""
    pieces = {}
    with closing(sqlite3.connect(folder / "gallery.db")) as database:
        for what, query in _OF_PERSON.items():
            for number, (blob,) in enumerate(database.execute(query, {"id": person_id}).fetchall()):
                for place in {0, max(len(blob) // 2 - 12, 0), len(blob) - 12}:
                    pieces[f"{what} {number} at {place}"] = blob[place : place + 12]
    assert len(pieces) > 12
    return pieces


def plain_pieces(gallery: Gallery) -> dict[str, bytes]:
    """Names, pseudonyms, digests of images, features, templates and crops of everybody in the gallery."""
    pieces = {}
    for person in gallery.persons():
        pieces[f"name of {person.id}"] = person.name.encode()
        pieces[f"pseudonym of {person.id}"] = gallery.pseudonym(person.id).encode()
        for number, crop in gallery.crops(person.id).items():
            pieces[f"crop {number}"] = crop.tobytes()[5000:5032]
    for space in gallery.spaces():
        for what, matrix in (
            ("feature", gallery.features(space).matrix),
            ("template", gallery.templates(space).matrix),
        ):
            for number, row in enumerate(np.asarray(matrix)):
                pieces[f"{what} {number} of {space}"] = row[3:6].tobytes()
        strangers = gallery.strangers(space)
        if strangers is not None:
            pieces[f"stranger of {space}"] = strangers.features[7][:4].tobytes()
    return pieces
