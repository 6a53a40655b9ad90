"""Contact sheets: one image with sample faces of several identities."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.faces.encoded_images import encode_image
from fedfr.faces.faceset import FaceSet

__all__ = ["write_contact_sheet"]


def write_contact_sheet(faces: FaceSet, path: Path, identities: int, images: int) -> None:
    """Write a PNG contact sheet: one row for each of the first ``identities``, with up to ``images`` faces each.

    Raises :class:`FedfrError` when ``path`` exists or does not end in ``.png``.
    """
    if path.suffix.lower() != ".png":
        raise FedfrError(f"{path} does not end in .png; a contact sheet is written as PNG")
    if path.exists():
        raise FedfrError(f"{path} exists already; choose another name or remove it")
    rows = min(identities, faces.num_identities)
    sheet = np.full((rows * 112, images * 112, 3), 255, np.uint8)
    for label in range(rows):
        for column, pixels in enumerate(faces.images(faces.indices_of(label)[:images])):
            sheet[label * 112 : (label + 1) * 112, column * 112 : (column + 1) * 112] = pixels
    write_atomically(path, encode_image(sheet, ".png"))
