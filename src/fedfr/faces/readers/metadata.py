"""Metadata files (``metadata.csv``, ``.jsonl``, ``.parquet``) that assign identities to images."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.core.registry import Entry, Registry
from fedfr.faces.readers.huggingface.column_choice import IDENTITY, find_identity
from fedfr.faces.readers.huggingface.table_files import ParquetTable
from fedfr.faces.row_files import TableRow, csv_rows, table_rows

__all__ = ["METADATA", "MetadataEntry", "find_metadata", "read_metadata"]

FILE = ("file_name", "image_file_name")


@dataclass(frozen=True)
class MetadataEntry:
    """One entry: the image file, its identity (None if unlabelled), its name, and the location of the entry."""

    file: Path
    identity: str | int | None
    name: str | None
    where: str


Read = Callable[[Path, str | None], Iterator[TableRow]]


def _csv(path: Path, identity: str | None) -> Iterator[TableRow]:
    return csv_rows(path)


def _jsonl(path: Path, identity: str | None) -> Iterator[TableRow]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number} is not JSON, it may be truncated: {error}") from error
            if not isinstance(values, dict):
                raise ValueError(f'line {number} is not an object such as {{"file_name": …}}')  # noqa: TRY004 - a line of a file, not an argument
            yield f"line {number} of {path}", values


def _parquet(path: Path, identity: str | None) -> Iterator[TableRow]:
    table = ParquetTable(path)
    column, classes = find_identity(table, identity)
    for where, values in table_rows(table, (*FILE, column, "name")):
        label = values[column]
        if classes is not None and isinstance(label, int):
            values[column] = classes[label] if 0 <= label < len(classes) else None
        yield where, values


METADATA: Registry[Read] = Registry(
    "metadata file",
    (
        Entry("metadata.csv", _csv, "comma-separated, with a header"),
        Entry("metadata.jsonl", _jsonl, "one JSON object per line"),
        Entry("metadata.parquet", _parquet, "a Parquet table"),
    ),
)


def find_metadata(folder: Path) -> Path | None:
    """Return the metadata file of a folder, or None; raises :class:`FedfrError` if there are several."""
    found = [folder / name for name in METADATA.names if (folder / name).is_file()]
    if len(found) > 1:
        raise FedfrError(f"{folder} holds {' and '.join(path.name for path in found)}; keep one of them")
    return found[0] if found else None


def read_metadata(path: Path, identity: str | None = None) -> list[MetadataEntry]:
    """Read a metadata file whose images are in its folder or below it.

    ``identity`` names the column of identities; the default is ``identity``, else ``label``. Raises
    :class:`FedfrError` naming the line for a damaged file, a missing column, an image outside the folder, and one that
    is listed twice.
    """
    listed: dict[Path, MetadataEntry] = {}
    try:
        for where, values in METADATA[path.name](path, identity):
            line = _listed(path, where, values, identity)
            if line.file in listed:
                raise FedfrError(f"{where} repeats an image, it is also {listed[line.file].where}; list it once")
            listed[line.file] = line
    except OSError as error:
        raise FedfrError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise FedfrError(f"{path} is not readable ({error}); repair it or write it again") from error
    if not listed:
        raise FedfrError(f"{path} lists no images; give a line for each, with file_name and identity")
    return list(listed.values())


def _listed(path: Path, where: str, values: dict[str, Any], identity: str | None) -> MetadataEntry:
    file = _value(where, values, FILE, "the image's file")
    label = _value(where, values, IDENTITY if identity is None else (identity,), "its identity")
    if not isinstance(file, str) or not file:
        raise FedfrError(f"{where} has the file {file!r}; expected a path below {path.parent}")
    if isinstance(label, bool) or not isinstance(label, str | int | None):
        raise FedfrError(f"{where} has the identity {label!r}; expected a name or a whole number")
    place = Path(path.parent, file)
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise FedfrError(f"{where} names {file!r}; expected an image below {path.parent}")
    name = values.get("name")
    name = name if isinstance(name, str) and name else None
    return MetadataEntry(place, None if label == "" else label, name, f"{place.name} ({where})")


def _value(where: str, values: dict[str, Any], columns: tuple[str, ...], what: str) -> Any:
    for column in columns:
        if column in values:
            return values[column]
    present = ", ".join(map(str, values)) or "no columns"
    raise FedfrError(f"{where} has no {' or '.join(columns)} ({what}); it has {present}")
