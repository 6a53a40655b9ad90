"""Face sets over a folder of aligned images, decoded on access."""

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
    """Pixel source over image files of 112x112, decoded on access; raises :class:`FedfrError` naming an invalid file.

    Images are not resized, so that results are comparable with published ones.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)

    def __len__(self) -> int:
        return len(self.files)

    def decoded(self, row: int) -> NDArray[np.uint8]:
        """Return the pixels (112, 112, 3) of one row; raises :class:`FedfrError` for an image of another size."""
        image = read_image(self.files[row])
        if image.shape != IMAGE_SHAPE:
            raise FedfrError(
                f"{self.files[row]} is {image.shape[1]}x{image.shape[0]}; expected an aligned face of 112x112, "
                "align it first (`fedfr faces import --align`)"
            )
        return image

    def encoded(self, row: int) -> bytes:
        """Return the content of the file of one row."""
        try:
            return read_file(self.files[row])
        except OSError as error:
            raise FedfrError(f"cannot read {self.files[row]}: {error.strerror or error}; check the file") from error


def open_folder(path: str | os.PathLike[str]) -> FaceSet:
    """Open the images in ``path``/<identity>/ as a face set, decoded on access; identities and images sorted by name.

    Raises :class:`FedfrError` for a missing or empty folder, and on access for an image that is not 112x112.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import cv2
    >>> import numpy as np
    >>> from fedfr.faces import open_folder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "a").mkdir()
    ...     _ = cv2.imwrite(f"{folder}/a/1.png", np.zeros((112, 112, 3), np.uint8))
    ...     faces = open_folder(folder)
    ...     faces.names, faces.images([0]).shape
    (('a/1.png',), (1, 112, 112, 3))
    """
    listing = list_images(find_source(path))
    return FaceSet(ImageFiles(listing.files), listing.labels, listing.identities, listing.names)
