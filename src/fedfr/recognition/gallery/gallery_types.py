"""What a gallery returns and takes: persons, photos, templates, strangers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "REMAINS",
    "Features",
    "NewPhoto",
    "Person",
    "Removal",
    "StoredPhoto",
    "StrangerFeatures",
    "Templates",
    "TrainedPeople",
]


REMAINS = (
    "what a federation learned from the person's faces: faces and private state of the site, which `fedfr site forget` "
    "erases, weights of models; and copies of this gallery, until `fedfr gallery rekey`"
)
"""What the removal of a person does not delete."""


@dataclass(frozen=True)
class Person:
    """Enrolled person: random id (12 hexadecimal digits), name, time of enrolment (UTC), numbers of the photos."""

    id: str
    name: str
    added: str
    photos: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"id": self.id, "name": self.name, "added": self.added, "photos": list(self.photos)}


@dataclass(frozen=True)
class NewPhoto:
    """Photo to add: its unit feature (D,), quality measures, and the aligned crop (112, 112, 3) if it is to be kept.

    ``digest`` is a hash of the image, by which a second enrolment of the same image is noticed. A ``held_out`` photo is
    in no template; it shows how often the person is recognized.
    """

    feature: NDArray[np.float32]
    quality: Mapping[str, Any] = field(default_factory=dict)
    crop: NDArray[np.uint8] | None = None
    digest: str = ""
    held_out: bool = False


@dataclass(frozen=True)
class StoredPhoto:
    """Photo of a person: its number, time of enrolment (UTC), quality measures, digest, and whether a crop is kept.

    A ``held_out`` photo is in no template.
    """

    number: int
    added: str
    quality: Mapping[str, Any]
    digest: str
    has_crop: bool
    held_out: bool = False


@dataclass(frozen=True)
class Templates:
    """Templates of a space: ids of the persons, and unit features (K, D) in the same order."""

    ids: tuple[str, ...]
    matrix: NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """Features of photos in a space: of each the person's id and the photo's number, and unit features (N, D).

    ``held_out`` (N,) marks those that are in no template.
    """

    ids: tuple[str, ...]
    photos: tuple[int, ...]
    matrix: NDArray[np.float32]
    held_out: NDArray[np.bool_]


@dataclass(frozen=True)
class StrangerFeatures:
    """Features (S, D) of strangers or of a cohort, one of each person, and the digest of the images they came from."""

    features: NDArray[np.float32]
    digest: str


@dataclass(frozen=True)
class TrainedPeople:
    """Hashes of people on whom a model was trained: of their images (N, 32) and names (M, 8), uint8.

    A hash of an image tells whether another image is a copy of it.
    """

    images: NDArray[np.uint8]
    names: NDArray[np.uint8]


@dataclass(frozen=True)
class Removal:
    """Removed person: id, number of photos and crops, and whether all traces are gone from the files.

    ``cleared`` is False while another process reads the write-ahead log; traces (sealed, without their key) then remain
    until the next change or opening. ``calibrated`` is False if no thresholds could be computed for those who remain;
    nothing is decided then.
    """

    id: str
    photos: int
    crops: int
    cleared: bool = True
    calibrated: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, with what is not deleted."""
        return {**asdict(self), "remains": REMAINS}
