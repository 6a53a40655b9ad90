"""Export of a split as RecordIO files for the released FedFR tools."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_folder_atomically
from fedfr.core.registry import Entry, Registry
from fedfr.faces.encoded_images import encode_image
from fedfr.faces.faceset import FaceSet
from fedfr.faces.image_headers import image_size
from fedfr.faces.pixels import IMAGE_SHAPE
from fedfr.faces.splits.split import Split
from fedfr.faces.splits.split_parts import labels_of
from fedfr.faces.storage import check_destination
from fedfr.faces.writers.recordio import write_recordio_file

__all__ = ["ENCODINGS", "export_recordio"]

CHUNK = 256

Encode = Callable[[FaceSet, Sequence[int], int], Iterator[bytes]]
"""Yields the compressed images at some indices in order; the number is the quality of a JPEG."""


def _iterate_images(faces: FaceSet, indices: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(indices), CHUNK):
        yield from faces.images(indices[start : start + CHUNK])


def _png(faces: FaceSet, indices: Sequence[int], quality: int) -> Iterator[bytes]:
    return (encode_image(image, ".png") for image in _iterate_images(faces, indices))


def _jpeg(faces: FaceSet, indices: Sequence[int], quality: int) -> Iterator[bytes]:
    options = (cv2.IMWRITE_JPEG_QUALITY, quality)
    return (encode_image(image, ".jpg", options) for image in _iterate_images(faces, indices))


def _stored(faces: FaceSet, indices: Sequence[int], quality: int) -> Iterator[bytes]:
    for index in indices:
        content = faces.encoded(index)
        if content is None:
            raise FedfrError("these faces hold decoded pixels, not compressed images; choose png or jpeg")
        if image_size(content) != IMAGE_SHAPE[:2]:
            raise FedfrError(f"{faces.names[index]} is stored in another size than 112x112; choose png or jpeg")
        yield content


ENCODINGS: Registry[Encode] = Registry(
    "encoding",
    (
        Entry("png", _png, "lossless"),
        Entry("jpeg", _jpeg, "smaller, at the quality given"),
        Entry("kept", _stored, "the unchanged bytes of the RecordIO file of the faces"),
    ),
)


def export_recordio(
    faces: FaceSet,
    split: Split,
    dest: str | os.PathLike[str],
    encoding: str = "png",
    quality: int = 95,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Write a split in the layout of the authors' split scripts, with P private identities, C clients, K public ones.

    ``split_pretrain_K/client_0000/train.rec`` holds the public part; ``split_train_iPcC/client_0000/train.rec``, …,
    each client's training images, with labels 0, 1, … in the order of the set; ``local_gallery_P/test.rec`` the
    training and ``local_veri_P/test.rec`` the test images of all clients, with labels 0 … P-1 and ``idx_id_pair.txt``.
    P and C have at least four digits in the clients' folder. Every ``.rec`` has its ``.idx``. Parts without images are
    left out.

    ``encoding`` is ``png`` (lossless), ``jpeg`` (with ``quality`` 1 … 100) or ``kept`` (the stored bytes). Returns the
    number of images by file, relative to ``dest``, which is written atomically. Raises :class:`FedfrError` for a split
    of other faces, if ``dest`` holds files, and for ``kept`` without stored images of 112x112.

    >>> import tempfile
    >>> import numpy as np
    >>> from fedfr.faces import FaceSet, Split, export_recordio
    >>> faces = FaceSet(np.zeros((3, 112, 112, 3), np.uint8), [0, 0, 1], ["a", "b"])
    >>> split = Split("all", 0, faces.fingerprint(), public=range(3), clients={}, generic=(), distractors=())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_recordio(faces, split, f"{folder}/exported")
    {'split_pretrain_2/client_0000/train.rec': 3}
    """
    encode_image = ENCODINGS[encoding]
    if not 1 <= quality <= 100:
        raise FedfrError(f"quality = {quality}; give 1 to 100, the usual JPEG scale")
    target = Path(dest).resolve()
    check_destination(target)
    split.check(faces)
    plans = _plans(faces, split)
    total = sum(len(indices) for _, indices, _, _ in plans.values())
    done = 0

    def counted(indices: Sequence[int], labels: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        nonlocal done
        for label, content in zip(labels, encode_image(faces, indices, quality), strict=True):
            yield label, content
            done += 1
            if progress is not None:
                progress(done, total)

    def fill(folder: Path) -> None:
        for name, (identities, indices, labels, first) in plans.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_recordio_file(path, counted(indices, labels), identities, first)
            if name.startswith("local_veri"):
                lines = (f"{key} {label}\n" for key, label in enumerate(labels, start=1))
                (path.parent / "idx_id_pair.txt").write_text("idx id\n" + "".join(lines), encoding="ascii")

    write_folder_atomically(target, fill)
    return {name: len(indices) for name, (_, indices, _, _) in plans.items()}


Plan = tuple[int, list[int], list[int], int | None]
"""One file: number of identities, images in order, their labels, first identity."""


def _plans(faces: FaceSet, split: Split) -> dict[str, Plan]:
    plans: dict[str, Plan] = {}
    identities = [labels_of(faces, client.train) for client in split.clients.values()]
    private, clients = sum(map(len, identities)), len(identities)
    public = labels_of(faces, split.public)
    plans[f"split_pretrain_{len(public)}/client_0000/train.rec"] = _plan(faces, split.public, public)
    first, train, test = 0, [], []
    for number, (client, known) in enumerate(zip(split.clients.values(), identities, strict=True)):
        name = f"split_train_i{private:04d}c{clients:04d}/client_{number:04d}/train.rec"
        plans[name] = _plan(faces, client.train, known, first=first)
        train.append(_plan(faces, client.train, known, count_from=first))
        test.append(_plan(faces, client.test, known, count_from=first))
        first += len(known)
    for name, parts in (("local_gallery", train), ("local_veri", test)):
        indices = [index for _, some, _, _ in parts for index in some]
        plans[f"{name}_{private}/test.rec"] = private, indices, [label for *_, some, _ in parts for label in some], None
    return {name: plan for name, plan in plans.items() if plan[1]}


def _plan(
    faces: FaceSet, images: Sequence[int], identities: NDArray[np.int64], first: int | None = None, count_from: int = 0
) -> Plan:
    """Order the images by identity, as the scripts do, independently of the order of the set."""
    rows = np.asarray(images, np.int64)
    own = count_from + np.searchsorted(identities, faces.labels[rows])
    order = np.lexsort((rows, own))
    return len(identities), rows[order].tolist(), own[order].tolist(), first
