"""A folder of aligned images as a set of faces: nothing is converted, each image is decoded when asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_file
from fedfr.faces.faceset import FaceSet
from fedfr.faces.pixels import IMAGE_SHAPE, DecodedPixels
from fedfr.faces.readers.image_reading import read_image
from fedfr.faces.readers.listing import find_source, list_images

__all__ = ["ImageFiles", "open_folder"]


class ImageFiles(DecodedPixels):
    """A source of pixels over image files of 112x112; reading raises :class:`FedfrError` naming a file that is none.

    Unlike an import it resizes nothing: what is made of these images may be compared with published figures.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)

    def __len__(self) -> int:
        return len(self.files)

    def decoded(self, row: int) -> NDArray[np.uint8]:
        """The image of one row, which must be 112x112."""
        image = read_image(self.files[row])
        if image.shape != IMAGE_SHAPE:
            raise FedfrError(
                f"{self.files[row]} is {image.shape[1]}x{image.shape[0]}; expected an aligned face of 112x112, "
                "align it first (`fedfr faces import --align`)"
            )
        return image

    def encoded(self, row: int) -> bytes:
        """The file as it lies."""
        try:
            return read_file(self.files[row])
        except OSError as error:
            raise FedfrError(f"cannot read {self.files[row]}: {error.strerror or error}; check the file") from error


def open_folder(path: str | os.PathLike[str]) -> FaceSet:
    """The images in ``path``/<identity>/, identities and images sorted by name, without reading one.

    Raises :class:`FedfrError` for a missing or empty folder; see :class:`ImageFiles` for reading.
    """
    listing = list_images(find_source(path))
    return FaceSet(ImageFiles(listing.files), listing.labels, listing.identities, listing.names)
