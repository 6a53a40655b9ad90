"""Making a verification set of one's own faces, in the form that InsightFace's tools read too."""

from __future__ import annotations

import os
import pickle
from functools import cache
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.faces.encoded_images import encode
from fedfr.faces.faceset import FaceSet
from fedfr.faces.image_headers import image_size
from fedfr.faces.pixels import IMAGE_SHAPE
from fedfr.faces.readers.pairs.face_pairs import read_pairs
from fedfr.faces.readers.verification_sets import SUFFIX

__all__ = ["pack_pairs"]


def pack_pairs(faces: FaceSet, pairs: str | os.PathLike[str], dest: Path) -> int:
    """Write the pairs of ``faces`` that a list names (see :func:`read_pairs`) as a ``.bin``; returns their number.

    What a set decodes when asked (:func:`open_folder`, a ``train.rec``) keeps its bytes where they are JPEG or PNG of
    112x112; all else is written as PNG of the set's pixels, without loss. Only the images of the list are read.
    Raises :class:`FedfrError` for a list that does not fit, an image that cannot be decoded, and where ``dest``
    exists, is no ``.bin`` or cannot be written.
    """
    if dest.suffix != SUFFIX:
        raise FedfrError(f"{dest} does not end in {SUFFIX}, by which verification sets are known; name it so")
    if dest.exists():
        raise FedfrError(f"{dest} exists already; choose another name or remove it")
    found = read_pairs(pairs, faces)

    # Each image once: the pickle then holds it once however many pairs it is in.
    @cache
    def encoded(index: int) -> bytes:
        kept, pixels = faces.encoded(index), faces.images([index])[0]
        return kept if kept is not None and image_size(kept) == IMAGE_SHAPE[:2] else encode(pixels, ".png")

    images = [encoded(index) for pair in found for index in pair]
    same = [bool(faces.labels[a] == faces.labels[b]) for a, b in found]
    write_atomically(dest, pickle.dumps((images, same), protocol=4))
    return len(same)
