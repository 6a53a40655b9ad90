"""Partition files, which assign images by index or name to partitions: CSV, JSON or Parquet."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.core.registry import Entry, Registry
from fedfr.faces.faceset import FaceSet
from fedfr.faces.readers.huggingface import ParquetTable
from fedfr.faces.row_files import TableRow, csv_rows, table_rows

__all__ = ["PARTITION_FILES", "Partition", "read_partitions"]

Partition = int | str
"""A partition's id: a number from 0, or a name."""

IMAGE, PARTITION = ("index", "name"), ("partition", "partition_id")


def _json(path: Path) -> Iterator[TableRow]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(content, dict):
        for name, partition in content.items():
            yield f"entry {name!r} of {path}", {"name": name, "partition": partition}
        return
    if not isinstance(content, list):
        raise ValueError("it is neither a list nor an object")  # noqa: TRY004 - content of a file, not an argument
    for number, entry in enumerate(content):
        where = f"entry {number} of {path}"
        yield where, entry if isinstance(entry, dict) else {"index": number, "partition": entry}


def _parquet(path: Path) -> Iterator[TableRow]:
    return table_rows(ParquetTable(path), (*IMAGE, *PARTITION))


PARTITION_FILES: Registry[Callable[[Path], Iterator[TableRow]]] = Registry(
    "kind of partition file",
    (
        Entry(".csv", csv_rows, "columns index or name, and partition"),
        Entry(".json", _json, "a list with the partition of each image, or an object from names to partitions"),
        Entry(".parquet", _parquet, "columns index or name, and partition"),
    ),
)


def read_partitions(path: str | os.PathLike[str], faces: FaceSet) -> list[Partition | None]:
    """Return the partition of each image of ``faces``, in their order; None for images in none.

    Partitions are whole numbers from 0 or names. Raises :class:`FedfrError` naming the line for a damaged file, another
    format, an image that does not exist or is listed twice, and a name that several images have.
    """
    place = Path(path)
    if (whole := _plain_list(place, len(faces))) is not None:
        return whole
    read = PARTITION_FILES[place.suffix.lower()]
    found: list[Partition | None] = [None] * len(faces)
    listed = bytearray(len(faces))
    numbers = _ImageFinder(faces)
    try:
        for where, values in read(place):
            index = numbers.of(where, values)
            if listed[index]:
                raise FedfrError(f"{where} lists image {index} ({faces.names[index]}) a second time; list it once")
            listed[index] = True
            found[index] = _partition(where, values)
    except FileNotFoundError as error:
        raise FedfrError(f"{path} does not exist; give a file with a partition for each image") from error
    except OSError as error:
        raise FedfrError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise FedfrError(f"{path} is not readable ({error}); write it again") from error
    return found


def _plain_list(path: Path, images: int) -> list[Partition | None] | None:
    """Read a JSON list with a partition for every image, checking each distinct value once; None for any other file.

    Invalid files return None too: reading them entry by entry gives the error.
    """
    if path.suffix.lower() != ".json":
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, list) or len(content) != images or not {*map(type, content)} <= {int, str, type(None)}:
        return None
    try:
        known = {value: _partition(str(path), {"partition": value}) for value in {*content}}
    except FedfrError:
        return None
    return [known[value] for value in content]


class _ImageFinder:
    """Finds the image of an entry by index or name."""

    def __init__(self, faces: FaceSet) -> None:
        self._faces = faces
        self._count = len(faces)
        self._names: dict[str, int] = {}
        self._ambiguous: set[str] = set()

    def _read(self) -> None:
        """Read all names when an entry first has one."""
        for index, name in enumerate(self._faces.names):
            if self._names.setdefault(name, index) != index:
                self._ambiguous.add(name)

    def of(self, where: str, values: dict[str, Any]) -> int:
        """Return the index of the image; raises :class:`FedfrError` unless there is exactly one."""
        column = next((name for name in IMAGE if name in values), None)
        if column is None:
            present = ", ".join(map(str, values)) or "no columns"
            raise FedfrError(f"{where} has no index or name of an image; it has {present}")
        if column == "name":
            name = values["name"]
            if not self._names:
                self._read()
            if name in self._ambiguous:
                raise FedfrError(f"{where}: several images are called {name!r}; give their index instead")
            if not isinstance(name, str) or name not in self._names:
                raise FedfrError(f"{where}: image {name!r} is not among these faces; partition the whole set again")
            return self._names[name]
        index = _whole_number(values["index"])
        if index is None or index >= self._count:
            given = values["index"]
            raise FedfrError(f"{where} has index {given!r}; these faces have images 0 to {self._count - 1}")
        return index


def _partition(where: str, values: dict[str, Any]) -> Partition | None:
    column = next((name for name in PARTITION if name in values), None)
    if column is None:
        raise FedfrError(f"{where} has no partition; it has {', '.join(map(str, values))}")
    given = values[column]
    if given is None or given == "":
        return None
    number = _whole_number(given)
    if number is not None:
        return number
    if not isinstance(given, str):
        raise FedfrError(f"{where} has partition {given!r}; give a whole number from 0, or a name")
    return given


def _whole_number(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
