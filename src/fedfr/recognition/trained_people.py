"""People on whom a model was trained: they are no strangers, and a gallery keeps hashes by which it knows them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet
from fedfr.faces.face_sets import original_name
from fedfr.faces.name_matching import normalized_name, quoted_name
from fedfr.recognition.gallery.gallery_types import TrainedPeople
from fedfr.recognition.photos.image_hash import HASH_BYTES, image_hash, mirrored_hash, rows_of_copies

__all__ = ["TrainedPeople", "hash_people", "refuse_images", "refuse_names"]

Hash: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]

_BATCH = 256
_NAME_BYTES = 8


def hash_people(sets: Iterable[FaceSet]) -> TrainedPeople | None:
    """Return the hashes of the images and names of people on whom a model was trained; None without any image."""
    images = [np.empty((0, HASH_BYTES), np.uint8)]
    names: set[bytes] = set()
    for faces in sets:
        images += _hashes(faces, image_hash)
        names.update(filter(None, map(_name_hash, _names(faces))))
    together = np.concatenate(images)
    if not len(together):
        return None
    known = np.frombuffer(b"".join(sorted(names)), np.uint8).reshape(-1, _NAME_BYTES)
    return TrainedPeople(together, known)


def refuse_names(names: Sequence[str], trained: TrainedPeople, what: str) -> None:
    """Raise :class:`FedfrError` if somebody has the name of a person on whom the model was trained.

    Names that look the same count as the same; numbers name nobody.
    """
    known = {row.tobytes() for row in trained.names}
    same = [name for name in names if _name_hash(name) in known]
    if same:
        raise _refused(
            len(same), len(names), what, f"have the name of somebody there, for example {quoted_name(same[0])}",
            "leave them out, or rename them if they are other people",
        )  # fmt: skip


def refuse_images(
    images: FaceSet | Sequence[NDArray[np.uint8]], owners: Sequence[str], trained: TrainedPeople, what: str
) -> None:
    """Raise :class:`FedfrError` if an aligned crop is a copy of an image on which the model was trained.

    Mirrored copies count, too. ``owners`` are the names of the people in the images.
    """
    found: set[str] = set()
    for hashing in (image_hash, mirrored_hash):
        start = 0
        for part in _hashes(images, hashing):
            found.update(owners[start + row] for row in rows_of_copies(part, trained.images).tolist())
            start += len(part)
    if found:
        raise _refused(
            len(found), len(set(owners)), what, f"have a copy of an image there, for example {quoted_name(min(found))}",
            "give others",
        )  # fmt: skip


def _refused(count: int, total: int, what: str, how: str, remedy: str) -> FedfrError:
    return FedfrError(
        f"{count} of {total} {what} are no strangers to the model: they {how}, and it was trained on them; {remedy}, "
        "because what is promised holds for people on whom nobody trained"
    )


def _hashes(images: FaceSet | Sequence[NDArray[np.uint8]], hashing: Hash) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(images), _BATCH):
        rows = range(start, min(start + _BATCH, len(images)))
        some = images.images(rows) if isinstance(images, FaceSet) else images[start : rows.stop]
        yield np.stack([hashing(image) for image in some])


def _names(faces: FaceSet) -> Iterator[str]:
    return (original_name(name) if faces.sets else name for name in faces.identities)


def _name_hash(name: str) -> bytes:
    """Return the hash of a name, empty for a number."""
    normalized = normalized_name(name)
    if normalized.isdigit():
        return b""
    return hashlib.blake2b(normalized.encode("utf-8", "surrogatepass"), digest_size=_NAME_BYTES).digest()
