"""Stored face sets whose images remain in a RecordIO file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.array_files import map_array
from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, write_json
from fedfr.faces.array_columns import Digests
from fedfr.faces.readers.recordio.format import RecordFile
from fedfr.faces.readers.recordio.record_pixels import RecordPixels
from fedfr.faces.storage import DIGESTS, save_digests

__all__ = ["LinkedPixels", "link", "open_linked"]

FORMAT = "fedfr-records"
VERSION = 1


class LinkedPixels(RecordPixels):
    """:class:`RecordPixels` of a stored set in ``folder``, with its stored digests; pickled as the folder's path."""

    def __init__(self, folder: Path, file: RecordFile, table: NDArray[np.int64], digests: NDArray[np.uint8]) -> None:
        super().__init__(file, table[0], table[1])
        self._folder = folder
        self._digests = digests

    def digests(self, rows: NDArray[np.int64]) -> Iterator[bytes]:
        """Yield the SHA-256 of the pixels of each row, as decoded when the set was stored."""
        return (digest.tobytes() for digest in self._digests[rows])

    def __reduce__(self) -> tuple[Any, ...]:
        return open_linked, (self._folder,)


def link(folder: Path, pixels: RecordPixels, digests: Digests) -> None:
    """Write keys, offsets, ``digests`` and the path of the RecordIO file to ``folder`` for :func:`open_linked`."""
    np.save(folder / "records.npy", np.stack([pixels.keys, pixels.offsets]), allow_pickle=False)
    save_digests(folder / DIGESTS, digests)
    source = {"file": str(pixels.file.path), "bytes": pixels.file.size}
    write_json(folder / "records.json", {"format": FORMAT, "version": VERSION, **source})


def open_linked(folder: Path) -> LinkedPixels:
    """Open a folder written by :func:`link`; raises :class:`FedfrError` if the RecordIO file is missing or changed."""
    place = folder / "records.json"
    content = read_json(place)
    if not isinstance(content, Mapping) or content.get("format") != FORMAT or content.get("version") != VERSION:
        raise FedfrError(f"{place} does not describe a RecordIO file; import the faces again")
    path, size = content.get("file"), content.get("bytes")
    if not isinstance(path, str):
        raise FedfrError(f"{place} names no file; import the faces again")
    if not Path(path).is_file():
        raise FedfrError(f"{path}, the file with the images of {folder}, is missing; restore it or import it again")
    file = RecordFile(Path(path))
    if file.size != size:
        raise FedfrError(f"{path} has {file.size} bytes, but had {size} when {folder} was written; import it again")
    table, digests = _array(folder / "records.npy", np.int64), _array(folder / DIGESTS, np.uint8)
    if len(table) != 2 or digests.shape[1] != 32 or table.shape[1] != len(digests):
        raise FedfrError(f"{folder} has different numbers of records and digests; import the faces again")
    return LinkedPixels(folder, file, table, digests)


def _array(path: Path, dtype: type[np.generic]) -> NDArray[Any]:
    try:
        array = map_array(path)
    except (FileNotFoundError, ValueError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise FedfrError(
            f"{path} is missing, truncated or not a NumPy file ({reason}); import the faces again"
        ) from error
    except OSError as error:
        raise FedfrError(f"cannot read {path}: {error.strerror or error}; check the file and the disk") from error
    if array.dtype != dtype or array.ndim != 2:
        raise FedfrError(f"{path} holds {array.dtype} {array.shape}; import the faces again")
    return array
