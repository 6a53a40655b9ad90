"""Writing of verification sets that InsightFace's tools can read."""

from __future__ import annotations

import os
import pickle
from functools import cache
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.faces.encoded_images import encode_image
from fedfr.faces.faceset import FaceSet
from fedfr.faces.image_headers import image_size
from fedfr.faces.pixels import IMAGE_SHAPE
from fedfr.faces.readers.pairs.face_pairs import read_pairs
from fedfr.faces.readers.verification_sets import SUFFIX

__all__ = ["pack_pairs"]


def pack_pairs(faces: FaceSet, pairs: str | os.PathLike[str], dest: Path) -> int:
    r"""Write the pairs of a pair list (:func:`read_pairs`) as a ``.bin`` verification set; returns their number.

    JPEG or PNG images of 112x112 that the set decodes on access (:func:`open_folder`, a ``train.rec``) are copied
    unchanged; all others are written as lossless PNG. Only the images of the list are read. Raises :class:`FedfrError`
    for a list that does not fit ``faces``, an image that cannot be decoded, and if ``dest`` exists, is not a ``.bin``
    or cannot be written.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from fedfr.faces import FaceSet, pack_pairs
    >>> faces = FaceSet(np.zeros((2, 112, 112, 3), np.uint8), [0, 0], ["a"], ["a/1.png", "a/2.png"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "pairs.csv").write_text("a,b\na/1.png,a/2.png\n")
    ...     pack_pairs(faces, Path(folder, "pairs.csv"), Path(folder, "own.bin"))
    1
    """
    if dest.suffix != SUFFIX:
        raise FedfrError(f"{dest} does not end in {SUFFIX}; give the verification set a name that does")
    if dest.exists():
        raise FedfrError(f"{dest} exists already; choose another name or remove it")
    found = read_pairs(pairs, faces)

    # Cached, so that the pickle holds an image once, however many pairs it is in.
    @cache
    def encoded(index: int) -> bytes:
        stored, pixels = faces.encoded(index), faces.images([index])[0]
        return stored if stored is not None and image_size(stored) == IMAGE_SHAPE[:2] else encode_image(pixels, ".png")

    images = [encoded(index) for pair in found for index in pair]
    same = [bool(faces.labels[a] == faces.labels[b]) for a, b in found]
    write_atomically(dest, pickle.dumps((images, same), protocol=4))
    return len(same)
