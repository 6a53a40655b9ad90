"""The folder a set of faces is kept in: ``faces.json``, ``digests.npy``, and ``pixels.npy`` or a link to pictures."""

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

from fedfr.errors import FedfrError
from fedfr.faces.pixels import IMAGE_SHAPE, PixelSource
from fedfr.files import read_json, write_folder_atomically
from fedfr.registry import Entry, Registry

__all__ = [
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

DIGESTS = "digests.npy"
DIGEST_BYTES = hashlib.sha256().digest_size
FORMAT = "fedfr-faces"
VERSION = 1
PIXEL_FILES = ("pixels.npy", "records.npy", DIGESTS, "records.json")
"""What may lie beside ``faces.json``."""


@dataclass(frozen=True)
class StoredFaces:
    """What one folder holds; ``pixels`` is memory-mapped and read-only, or decodes pictures that lie elsewhere."""

    pixels: PixelSource
    labels: NDArray[np.int64]
    identities: tuple[str, ...]
    names: tuple[str, ...]
    fingerprint: str


def fingerprint(labels: NDArray[np.int64], identities: Sequence[str], digests: Iterable[bytes]) -> str:
    """Hexadecimal SHA-256 over labels, identity names and the SHA-256 of every image, in order."""
    total = hashlib.sha256()
    total.update(labels.astype("<i8").tobytes())
    total.update(json.dumps(list(identities)).encode())
    for digest in digests:
        total.update(digest)
    return total.hexdigest()


def is_face_set(path: str | os.PathLike[str] | None) -> bool:
    """Whether ``path`` is a saved face set, which is used where it lies."""
    return path is not None and (Path(path) / "faces.json").is_file()


def check_destination(folder: Path) -> None:
    """Refuse to replace anything, an earlier set of faces included: raises :class:`FedfrError`."""
    try:
        taken = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise FedfrError(f"cannot use {folder} ({error.strerror}); name a new or empty folder for the faces") from error
    if taken:
        raise FedfrError(f"{folder} already holds files; name a new or empty folder for the faces")


def write_faces(
    folder: Path,
    labels: NDArray[np.int64],
    identities: Sequence[str],
    names: Sequence[str],
    images: Iterable[NDArray[np.uint8]],
) -> None:
    """Write the folder whole or not at all, one image after the other, so that memory stays bounded.

    ``images`` yields one (112, 112, 3) RGB array per label. A folder with anything in it, an earlier set of
    faces included, is refused with :class:`FedfrError`.
    """
    check_destination(folder)

    def fill(temporary: Path) -> None:
        digests: list[bytes] = []
        # Plain writes rather than a writable memory map: on a full disk a map dies with SIGBUS, a write says ENOSPC.
        with (temporary / "pixels.npy").open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(labels), *IMAGE_SHAPE)}
            np.lib.format.write_array_header_1_0(file, header)
            for image in images:
                content = image.tobytes()
                digests.append(hashlib.sha256(content).digest())
                file.write(content)
        # Kept because every check of a split asks for them, and hashing reads all pixels.
        save_digests(temporary / DIGESTS, digests)
        _describe(temporary, "npy", labels, identities, names, fingerprint(labels, identities, digests))

    write_folder_atomically(folder, fill)


def write_linked_faces(
    folder: Path,
    labels: NDArray[np.int64],
    identities: Sequence[str],
    names: Sequence[str],
    digests: Sequence[bytes],
    link: Callable[[Path], None],
) -> None:
    """Write the folder whole or not at all, without pixels: ``link`` puts into it what leads to the pictures.

    ``digests``: SHA-256 of the pixels of every image. An occupied folder is refused as :func:`write_faces` does.
    """
    check_destination(folder)

    def fill(temporary: Path) -> None:
        link(temporary)
        _describe(temporary, "recordio", labels, identities, names, fingerprint(labels, identities, digests))

    write_folder_atomically(folder, fill)


def _describe(
    temporary: Path,
    pixels: str,
    labels: NDArray[np.int64],
    identities: Sequence[str],
    names: Sequence[str],
    digest: str,
) -> None:
    description = {
        "format": FORMAT,
        "version": VERSION,
        "pixels": pixels,
        "images": len(labels),
        "fingerprint": digest,
        "identities": list(identities),
        "labels": labels.tolist(),
        "names": list(names),
    }
    # One line per entry of the description: an indented list of labels would be most of the file.
    lines = ",\n".join(f'"{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in description.items())
    (temporary / "faces.json").write_text("{\n" + lines + "\n}\n", encoding="utf-8")


def open_pixels(path: Path) -> NDArray[np.uint8]:
    """Memory-map ``pixels.npy`` read-only; raises :class:`FedfrError` when it is missing, cut short or another kind."""
    try:
        pixels: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise FedfrError(f"{path} does not exist; import the faces again") from error
    except (OSError, ValueError, EOFError) as error:
        raise FedfrError(f"{path} is truncated or not a NumPy file ({error}); import the faces again") from error
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != IMAGE_SHAPE:
        found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else "a zip archive"
        raise FedfrError(f"{path} holds {found}, expected uint8 (images, 112, 112, 3); import the faces again")
    return pixels


def _mapped(folder: Path) -> PixelSource:
    return open_pixels(folder / "pixels.npy")


PIXELS: Registry[Callable[[Path], PixelSource]] = Registry(
    "kind of pixels",
    (
        Entry("npy", _mapped, "pixels.npy, memory-mapped"),
        Entry("recordio", "fedfr.faces.recordio.linked:open_linked", "pictures in a RecordIO file, decoded when asked"),
    ),
)


def save_digests(path: Path, digests: Sequence[bytes]) -> None:
    """Keep the SHA-256 of every image, uint8 (N, 32)."""
    np.save(path, np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES), allow_pickle=False)


def read_digests(
    path: Path, labels: NDArray[np.int64], identities: Sequence[str], expected: str
) -> tuple[bytes, ...] | None:
    """The digests kept in ``path``; None where there are none, or others than the fingerprint ``expected`` is made of.

    Sets imported by earlier versions have no such file; whoever gets None hashes the pixels.
    """
    try:
        kept: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if not isinstance(kept, np.ndarray) or kept.dtype != np.uint8 or kept.shape != (labels.size, DIGEST_BYTES):
        return None
    digests = tuple(digest.tobytes() for digest in kept)
    return digests if fingerprint(labels, identities, digests) == expected else None


def read_faces(folder: Path) -> StoredFaces:
    """Open a folder written by :func:`write_faces`; raises :class:`FedfrError` when it is incomplete or altered."""
    if not folder.is_dir():
        raise FedfrError(f"{folder} is not a folder; give a folder written by `fedfr faces import`")
    path = folder / "faces.json"
    if not path.is_file():
        raise FedfrError(f"{folder} holds no faces.json; give a folder written by `fedfr faces import`")
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FedfrError(f"{path} does not describe a set of faces; give a folder written by `fedfr faces import`")
    if content.get("version") != VERSION:
        raise FedfrError(f"{path} has version {content.get('version')!r}, expected {VERSION}; import again")
    try:
        labels = np.asarray(content["labels"], dtype=np.int64)
        identities = tuple(str(name) for name in content["identities"])
        names = tuple(str(name) for name in content["names"])
        images, digest = int(content["images"]), str(content["fingerprint"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FedfrError(f"{path} lacks or garbles an entry ({error!r}); import the faces again") from error
    pixels = PIXELS[str(content.get("pixels", "npy"))](folder)
    if not len(pixels) == images == labels.size == len(names):
        raise FedfrError(
            f"{folder} disagrees with itself: {len(pixels)} images, {labels.size} labels and "
            f"{len(names)} names in faces.json; import the faces again"
        )
    return StoredFaces(pixels, labels, identities, names, digest)
