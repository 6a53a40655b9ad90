"""Storage format of a face set: a folder.

``faces.json`` describes the set, ``columns.dat`` holds labels and names, ``digests.npy`` the digests; the images are in
``pixels.npy`` or in a file elsewhere that the folder refers to. All but ``faces.json`` are memory-mapped, so only the
parts that are read take memory.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.array_files import map_array
from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, write_folder_atomically, write_json
from fedfr.core.registry import Entry, Registry
from fedfr.faces.array_columns import DIGEST_BYTES, Digests, Texts
from fedfr.faces.column_file import read_columns, write_columns
from fedfr.faces.pixels import IMAGE_SHAPE, PixelSource

__all__ = [
    "COLUMNS",
    "DIGESTS",
    "IMAGE_SHAPE",
    "PIXEL_FILES",
    "StoredFaces",
    "check_destination",
    "fingerprint",
    "is_face_set",
    "open_pixels",
    "read_digests",
    "read_faces",
    "save_digests",
    "write_faces",
    "write_linked_faces",
]

COLUMNS = "columns.dat"
DIGESTS = "digests.npy"
FORMAT = "fedfr-faces"
VERSION = 2
PIXEL_FILES = ("pixels.npy", "records.npy", DIGESTS, "records.json", "sets.json", COLUMNS)
"""Files that may exist beside ``faces.json``."""

CHUNK = 1 << 16


@dataclass(frozen=True)
class StoredFaces:
    """Contents of a face-set folder; ``pixels`` is memory-mapped and read-only, or decodes images stored elsewhere."""

    pixels: PixelSource
    labels: NDArray[np.int64]
    identities: tuple[str, ...]
    names: Texts
    fingerprint: str


def fingerprint(labels: NDArray[np.int64], identities: Sequence[str], digests: Digests) -> str:
    """Return the hexadecimal SHA-256 over labels, identity names and the SHA-256 of every image, in order."""
    total = hashlib.sha256()
    _add(total, labels.astype("<i8", copy=False))
    total.update(json.dumps(list(identities)).encode())
    _add(total, digests.rows)
    return total.hexdigest()


def _add(total: hashlib._Hash, array: NDArray[Any]) -> None:
    for start in range(0, len(array), CHUNK):
        total.update(np.ascontiguousarray(array[start : start + CHUNK]).data)


def is_face_set(path: str | os.PathLike[str] | None) -> bool:
    """Whether ``path`` is a stored face set; raises :class:`FedfrError` without permission to read it."""
    if path is None:
        return False
    try:
        return (Path(path) / "faces.json").is_file()
    except OSError as error:
        # Path.is_file passes some of these on, such as a folder without the right to search it.
        raise FedfrError(
            f"cannot read {path}: {error.strerror or error}; check the path and its permissions"
        ) from error


def check_destination(folder: Path) -> None:
    """Raise :class:`FedfrError` unless ``folder`` is new or empty and accessible."""
    try:
        taken = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise FedfrError(f"cannot use {folder} ({error.strerror}); give a new or empty folder for the faces") from error
    if taken:
        raise FedfrError(f"{folder} already holds files; give a new or empty folder for the faces")


def write_faces(
    folder: Path,
    labels: NDArray[np.int64],
    identities: Sequence[str],
    names: Sequence[str],
    images: Iterable[NDArray[np.uint8]],
) -> None:
    """Write a face-set folder atomically, one image at a time, so that memory stays bounded.

    ``images`` yields one RGB array (112, 112, 3) per label. Raises :class:`FedfrError` when the folder is not empty.
    """
    check_destination(folder)

    def fill(temporary: Path) -> None:
        found = bytearray()
        # Plain writes rather than a writable memory map: on a full disk, a map raises SIGBUS, a write reports ENOSPC.
        with (temporary / "pixels.npy").open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(labels), *IMAGE_SHAPE)}
            np.lib.format.write_array_header_1_0(file, header)
            for image in images:
                content = image.tobytes()
                found += hashlib.sha256(content).digest()
                file.write(content)
        # Stored because every check of a split needs them, and computing them reads all pixels.
        digests = Digests(np.frombuffer(found, np.uint8).reshape(-1, DIGEST_BYTES))
        save_digests(temporary / DIGESTS, digests)
        _write_metadata(temporary, "npy", labels, identities, names, fingerprint(labels, identities, digests))

    write_folder_atomically(folder, fill)


def write_linked_faces(
    folder: Path,
    labels: NDArray[np.int64],
    identities: Sequence[str],
    names: Sequence[str],
    digests: Digests,
    link: Callable[[Path], None],
    kind: str = "recordio",
) -> None:
    """Write a face-set folder without pixels, atomically; ``link`` adds the files that refer to the images.

    ``digests`` are the SHA-256 of the pixels of every image. Raises :class:`FedfrError` when the folder is not empty.
    """
    check_destination(folder)

    def fill(temporary: Path) -> None:
        link(temporary)
        _write_metadata(temporary, kind, labels, identities, names, fingerprint(labels, identities, digests))

    write_folder_atomically(folder, fill)


def _write_metadata(
    temporary: Path,
    pixels: str,
    labels: NDArray[np.int64],
    identities: Sequence[str],
    names: Sequence[str],
    digest: str,
) -> None:
    identity_bytes, name_bytes = write_columns(temporary / COLUMNS, labels, identities, names)
    description = {
        "format": FORMAT,
        "version": VERSION,
        "pixels": pixels,
        "images": len(labels),
        "identities": len(identities),
        "identity_bytes": identity_bytes,
        "name_bytes": name_bytes,
        "fingerprint": digest,
    }
    write_json(temporary / "faces.json", description)


def open_pixels(path: Path) -> NDArray[np.uint8]:
    """Memory-map ``pixels.npy`` read-only; raises :class:`FedfrError` when it is missing, truncated or invalid."""
    try:
        pixels = map_array(path)
    except FileNotFoundError as error:
        raise FedfrError(f"{path} does not exist; import the faces again") from error
    except OSError as error:
        raise FedfrError(f"cannot read {path}: {error.strerror or error}; check the file and the disk") from error
    except (ValueError, EOFError) as error:
        raise FedfrError(f"{path} is truncated or not a NumPy file ({error}); import the faces again") from error
    if pixels.dtype != np.uint8 or pixels.shape[1:] != IMAGE_SHAPE:
        raise FedfrError(
            f"{path} holds {pixels.dtype} {pixels.shape}, expected uint8 (images, 112, 112, 3); import the faces again"
        )
    return pixels


def _mapped(folder: Path) -> PixelSource:
    return open_pixels(folder / "pixels.npy")


PIXELS: Registry[Callable[[Path], PixelSource]] = Registry(
    "kind of pixels",
    (
        Entry("npy", _mapped, "pixels.npy, memory-mapped"),
        Entry(
            "recordio",
            "fedfr.faces.readers.recordio.linked:open_linked",
            "images in a RecordIO file, decoded on access",
        ),
        Entry("sets", "fedfr.faces.set_links:open_sets", "images of several face sets, read from these"),
    ),
)


def save_digests(path: Path, digests: Digests) -> None:
    """Save the SHA-256 of every image as uint8 (N, 32)."""
    np.save(path, digests.rows, allow_pickle=False)


def read_digests(path: Path, labels: NDArray[np.int64], identities: Sequence[str], expected: str) -> Digests | None:
    """Memory-map the digests in ``path``; None where they are missing or do not match the fingerprint ``expected``.

    On None, the caller computes them from the pixels.
    """
    try:
        kept = map_array(path)
    except (OSError, ValueError, EOFError):
        return None
    if kept.dtype != np.uint8 or kept.shape != (labels.size, DIGEST_BYTES):
        return None
    digests = Digests(kept.view(np.ndarray))
    return digests if fingerprint(labels, identities, digests) == expected else None


def read_faces(folder: Path) -> StoredFaces:
    """Open a folder written by :func:`write_faces`; raises :class:`FedfrError` when it is incomplete or altered."""
    if not is_face_set(folder) and not folder.is_dir():
        raise FedfrError(f"{folder} is not a folder; give a folder written by `fedfr faces import`")
    path = folder / "faces.json"
    if not path.is_file():
        raise FedfrError(f"{folder} holds no faces.json; give a folder written by `fedfr faces import`")
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FedfrError(f"{path} does not describe a set of faces; give a folder written by `fedfr faces import`")
    if content.get("version") != VERSION:
        raise FedfrError(f"{path} has version {content.get('version')!r}, expected {VERSION}; import the faces again")
    try:
        images, identity_count, identity_bytes, name_bytes = (
            _count(content[name]) for name in ("images", "identities", "identity_bytes", "name_bytes")
        )
        digest = str(content["fingerprint"])
    except (KeyError, TypeError, ValueError) as error:
        raise FedfrError(f"{path} has a missing or invalid entry ({error!r}); import the faces again") from error
    labels, identities, names = read_columns(folder / COLUMNS, images, identity_count, identity_bytes, name_bytes)
    pixels = PIXELS[str(content.get("pixels", "npy"))](folder)
    if len(pixels) != images:
        raise FedfrError(
            f"{folder} is inconsistent: {len(pixels)} images, but {images} in faces.json; import the faces again"
        )
    return StoredFaces(pixels, labels, identities, names, digest)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 48:
        raise ValueError(f"{value!r} is not a count")
    return value
