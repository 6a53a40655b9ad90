"""Reading of photos from files, bytes and arrays, none of which is trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces.alignment.photographs.photograph_reading import PhotographLimits, decode_photograph, read_photograph
from fedfr.faces.alignment.photographs.reasons import RejectedPhotograph
from fedfr.faces.pixels import IMAGE_SHAPE
from fedfr.recognition.decision import REASONS

__all__ = ["FILE_LIMITS", "UPLOAD_LIMITS", "Photo", "RejectedPhoto", "read_photo"]

Photo: TypeAlias = "Path | str | bytes | NDArray[np.uint8]"
"""File, content of a file, or RGB image (height, width, 3) of any size."""

UPLOAD_LIMITS = PhotographLimits(bytes=10 * (1 << 20), pixels=40_000_000)
"""Limits of content: 10 MiB and 40 megapixels. Decoding needs about 6 bytes per pixel, so at most 240 MB."""
FILE_LIMITS = PhotographLimits()
"""Limits of files and arrays, which are on this machine already: as for the import of photographs."""


class RejectedPhoto(FedfrError):  # noqa: N818 – no error of the program: the reason is shown to the sender
    """A photo cannot be judged. ``code`` is a key of :data:`~fedfr.recognition.REASONS`, ``detail`` explains it.

    >>> from fedfr.recognition import RejectedPhoto, read_photo
    >>> try:
    ...     read_photo(b"text")
    ... except RejectedPhoto as rejected:
    ...     print(rejected.code, "–", rejected.detail)
    unreadable – not an image of a known format
    """

    def __init__(self, code: str, detail: str) -> None:
        self.code, self.detail = code, detail
        super().__init__(f"the photo is rejected as {code} ({detail}); {REASONS[code].advice}")


def read_photo(photo: Photo, *, aligned: bool = False, limits: PhotographLimits | None = None) -> NDArray[np.uint8]:
    """Return a photo as uint8 RGB (height, width, 3), rotated according to its EXIF data.

    ``limits`` are by default :data:`UPLOAD_LIMITS` for bytes, and :data:`FILE_LIMITS` for paths and arrays. With
    ``aligned``, the photo has to be a face crop of 112×112 pixels, aligned already. Raises :class:`RejectedPhoto` with
    code ``too-large``, before memory is allocated, or ``unreadable``.

    >>> import numpy as np
    >>> from fedfr.recognition import read_photo
    >>> read_photo(np.zeros((480, 640), np.uint8)).shape
    (480, 640, 3)
    """
    try:
        image = _read(photo, limits)
    except RejectedPhotograph as rejected:
        raise RejectedPhoto(rejected.reason, rejected.detail) from rejected
    if aligned and image.shape != IMAGE_SHAPE:
        height, width = image.shape[:2]
        raise RejectedPhoto("unreadable", f"{width}x{height} pixels; an aligned face crop has 112x112")
    return image


def _read(photo: Photo, limits: PhotographLimits | None) -> NDArray[np.uint8]:
    if isinstance(photo, str | Path):
        return read_photograph(Path(photo), limits or FILE_LIMITS)
    if isinstance(photo, bytes | bytearray | memoryview):
        return decode_photograph(bytes(photo), limits or UPLOAD_LIMITS)
    if not isinstance(photo, np.ndarray):
        raise RejectedPhotograph("unreadable", f"a {type(photo).__name__}, not a path, bytes or an array")
    if photo.dtype != np.uint8 or not photo.size or not (photo.ndim == 2 or (photo.ndim == 3 and photo.shape[2] == 3)):
        raise RejectedPhotograph(
            "unreadable", f"an array {photo.dtype} {photo.shape}, not RGB uint8 (height, width, 3)"
        )
    (limits or FILE_LIMITS).check_pixels(*photo.shape[:2])
    colours = np.repeat(photo[:, :, None], 3, axis=2) if photo.ndim == 2 else photo
    return np.ascontiguousarray(colours)
