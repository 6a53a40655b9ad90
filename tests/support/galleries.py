"""Small galleries with random features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.recognition.gallery.gallery import Gallery
from fedfr.recognition.gallery.gallery_types import NewPhoto

__all__ = ["CROP", "DIM", "SPACE", "filled_gallery", "photos", "read_everything", "units"]

SPACE, DIM = "sha256:0123", 32
CROP = np.arange(112 * 112 * 3, dtype=np.uint32).astype(np.uint8).reshape(112, 112, 3)


def units(count: int, dim: int = DIM, seed: int = 0) -> NDArray[np.float32]:
    """Random unit features."""
    rows = np.random.default_rng(seed).normal(size=(count, dim))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def photos(count: int, seed: int = 0, *, crop: bool = True) -> list[NewPhoto]:
    """Photos with random features."""
    rows = units(count, seed=seed)
    return [
        NewPhoto(row, {"sharpness": 12.5}, CROP if crop else None, f"{seed:02d}{i:02d}") for i, row in enumerate(rows)
    ]


def filled_gallery(
    folder: Path, names: tuple[str, ...] = ("Ada Quill", "Bo Reed"), passphrase: str | None = None
) -> Gallery:
    """Gallery with persons of two photos each, strangers, a calibration and a journal."""
    gallery = Gallery.create(folder)
    with gallery.change():
        gallery.switch(SPACE, DIM)
        for seed, name in enumerate(names):
            person = gallery.add_person(name, photos(2, seed))
            gallery.journal.append("enrol", person=gallery.pseudonym(person.id))
        gallery.set_strangers(SPACE, units(300, seed=99), "strangers-digest")
        gallery.set_calibration(SPACE, {"threshold": 0.25})
    gallery.journal.append("identify", "reject", score=0.1234, threshold=0.25, reasons=("below-threshold",))
    return gallery


def read_everything(gallery: Gallery) -> tuple[object, ...]:
    """Read every record of a gallery."""
    persons = gallery.persons()
    for person in persons:
        gallery.find(person.name)
        gallery.photos(person.id)
        gallery.crops(person.id)
    for space in gallery.spaces():
        gallery.templates(space)
        gallery.features(space)
        gallery.strangers(space)
        gallery.strangers(space, "cohort")
        gallery.calibration(space)
    return (*persons, gallery.active_space, *gallery.journal.entries(), gallery.journal.verify())
