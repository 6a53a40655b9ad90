"""File of the labels and names of a stored face set; each part starts at a multiple of 8 bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces.array_columns import Texts, encode_texts

__all__ = ["read_columns", "write_columns"]


def write_columns(
    path: Path, labels: NDArray[np.int64], identities: Sequence[str], names: Sequence[str]
) -> tuple[int, int]:
    """Write labels, identities and names; returns the sizes of the identities and of the names in bytes of UTF-8."""
    name_bytes, name_ends = 0, [np.zeros(1, np.int64)]
    identity_ends, identity_utf8 = _encoded(identities)
    with path.open("wb") as file:
        file.write(np.ascontiguousarray(labels, "<i8").data)
        file.write(identity_ends.astype("<i8").tobytes() + identity_utf8)
        file.write(bytes(-len(identity_utf8) % 8))
        for lengths, utf8 in encode_texts(names):
            file.write(utf8)
            name_ends.append(name_bytes + np.cumsum(lengths))
            name_bytes += len(utf8)
        file.write(bytes(-name_bytes % 8))
        file.writelines(ends.astype("<i8").data for ends in name_ends)
    return len(identity_utf8), name_bytes


def _encoded(texts: Sequence[str]) -> tuple[NDArray[np.int64], bytes]:
    blocks = list(encode_texts(texts))
    lengths = np.concatenate([np.zeros(1, np.int64), *(lengths for lengths, _ in blocks)])
    return np.cumsum(lengths), b"".join(utf8 for _, utf8 in blocks)


def read_columns(
    path: Path, images: int, identity_count: int, identity_bytes: int, name_bytes: int
) -> tuple[NDArray[np.int64], tuple[str, ...], Texts]:
    """Read labels, identities and names as :func:`write_columns` stores them, memory-mapped.

    The counts and sizes are those of ``faces.json``. Raises :class:`FedfrError` if the file does not fit them.
    """
    sizes = [8 * images, 8 * (identity_count + 1), identity_bytes, name_bytes, 8 * (images + 1)]
    starts = np.cumsum([0, *(size + -size % 8 for size in sizes)]).tolist()
    try:
        found = path.stat().st_size
        content = np.memmap(path, np.uint8, "r").view(np.ndarray) if found == starts[-1] else None
    except OSError as error:
        raise FedfrError(f"cannot read {path}: {error.strerror or error}; import the faces again") from error
    if content is None:
        raise FedfrError(f"{path} has {found} bytes, faces.json says {starts[-1]}; import the faces again")
    parts = [content[start : start + size] for start, size in zip(starts, sizes, strict=False)]
    labels, identity_ends, name_ends = (parts[place].view("<i8") for place in (0, 1, 4))
    try:
        identities = tuple(Texts(identity_ends, parts[2]))
    except FedfrError as error:
        raise FedfrError(f"{path}: {error}") from error
    return labels, identities, Texts(name_ends, parts[3])
