"""Small face sets in a folder for tests of combined sets."""

from __future__ import annotations

from pathlib import Path

from tests.support.tiny_experiment import tiny_faces

from fedfr.faces import FaceSet
from fedfr.faces.face_sets import NamedSet

SETTINGS = {"public_identities": 3, "clients": 2, "identities_per_client": 2, "test_count": 1}


def people(prefix: str, identities: int = 4, images: int = 3, seed: int = 0) -> FaceSet:
    faces = tiny_faces(identities, images, seed)
    return faces.renamed([f"{prefix}{number}" for number in range(identities)], faces.names)


def named(folder: Path, *names: str) -> list[NamedSet]:
    return [NamedSet(name, name, FaceSet.load(folder / name)) for name in names]
