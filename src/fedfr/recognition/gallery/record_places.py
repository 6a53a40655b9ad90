"""Places of the records of a gallery: table, column, row, person and space, to which each record is bound."""

from __future__ import annotations

__all__ = [
    "block_place",
    "calibration_place",
    "crop_place",
    "feature_place",
    "key_place",
    "photo_place",
    "profile_place",
    "strangers_of",
    "template_place",
    "templates_of",
]


def key_place(person: str) -> str:
    """Place of the wrapped data key of a person."""
    return f"persons.key of person {person}"


def profile_place(row: int, person: str) -> str:
    """Place of the name, pseudonym and photo numbers of a person."""
    return f"persons.sealed row {row} of person {person}"


def photo_place(row: int, person: str) -> str:
    """Place of the quality measures of a photo."""
    return f"photos.sealed row {row} of person {person}"


def crop_place(photo: int, person: str) -> str:
    """Place of the crop of a photo."""
    return f"crops.sealed row {photo} of person {person}"


def feature_place(row: int, photo: int, person: str, space: str) -> str:
    """Place of the feature of a photo in a space."""
    return f"features.sealed row {row} (photo {photo}) of person {person} in the space {space}"


def template_place(row: int, person: str, space: str) -> str:
    """Place of the template of a person in a space."""
    return f"templates.sealed row {row} of person {person} in the space {space}"


def calibration_place(row: int, space: str) -> str:
    """Place of the calibration of a space."""
    return f"calibrations.sealed row {row} in the space {space}"


def block_place(row: int, kind: str, number: int, space: str) -> str:
    """Place of a block of strangers' features."""
    return f"blocks.sealed row {row} ({kind} {number}) in the space {space}"


def templates_of(space: str) -> str:
    """Name of the set of templates of a space."""
    return f"templates {space}"


def strangers_of(kind: str, space: str) -> str:
    """Name of the set of blocks of strangers of a kind in a space."""
    return f"{kind} {space}"
