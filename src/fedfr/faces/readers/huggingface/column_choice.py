"""Which columns of a table hold the images, who is on them, and what they are called."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.faces.readers.huggingface.table_files import Table, pyarrow, reading

__all__ = ["Columns", "find_columns", "find_identity"]

IDENTITY = ("identity", "label")
EMPTY = "holds no image"


@dataclass(frozen=True)
class Columns:
    """Names of columns; ``struct``: images are structs of ``bytes`` and ``path``, else bytes alone.

    ``classes``: names of a ClassLabel's numbers; without them numbers stand for themselves.
    """

    image: str
    identity: str
    struct: bool
    name: str | None
    classes: tuple[str, ...] | None

    def people(self, table: Table) -> Iterator[str | int | None]:
        """Who is on each image; None where nobody is named: a null, an empty name, a number that is no class."""
        people = _values(table, self.identity, lambda column: column.to_pylist())
        return (_named(person, self.classes) for person in people)

    def names(self, table: Table) -> Iterator[str | None]:
        """What each image is called, where there is a column ``name``."""
        if self.name is None:
            return (None for _ in range(table.rows))
        return (name or None for name in _values(table, self.name, lambda column: column.to_pylist()))

    def files(self, table: Table) -> Iterator[str | None]:
        """The last part of each image's path, where it has one."""
        if not self.struct:
            return (None for _ in range(table.rows))
        paths = _values(table, f"{self.image}.path", lambda column: _field(column, "path"))
        return (Path(path).name or None if path else None for path in paths)

    def contents(self, table: Table) -> Iterator[bytes | str]:
        """The compressed images; a text says why there is none."""
        folder = table.path.parent
        if not self.struct:
            return (content or EMPTY for content in _values(table, self.image, lambda column: column.to_pylist()))
        pairs = _values(
            table, self.image, lambda column: zip(_field(column, "bytes"), _field(column, "path"), strict=True)
        )
        return (content or _referenced_image(folder, path) for content, path in pairs)


def _values(table: Table, column: str, take: Callable[[Any], Iterable[Any]]) -> Iterator[Any]:
    """What is in one column, a few rows at a time; texts that are not UTF-8 make the file a broken one."""
    with reading(table.path, table.kind):
        for batch in table.batches([column]):
            yield from take(batch.column(0))


def _field(column: Any, name: str) -> list[Any]:
    values: list[Any] = pyarrow().compute.struct_field(column, name).to_pylist()
    return values


def _named(person: Any, classes: tuple[str, ...] | None) -> str | int | None:
    if isinstance(person, int) and classes is not None:
        return classes[person] if 0 <= person < len(classes) else None
    return None if person == "" else person


def _referenced_image(folder: Path, path: str | None) -> bytes | str:
    """The image that a row without bytes leads to, only below the folder of the file."""
    if not path:
        return EMPTY
    place = (folder / path).resolve()
    if not place.is_relative_to(folder.resolve()):
        return f"holds only the path of an image that lies elsewhere, {path}"
    try:
        return place.read_bytes() or "holds an empty image"
    except OSError as error:
        return f"leads to {place}, which cannot be read ({error.strerror or error})"


def find_columns(table: Table, image: str | None = None, identity: str | None = None) -> Columns:
    """The columns named, else ``image`` or the only one marked as images, and ``identity`` or ``label``.

    Raises :class:`FedfrError` when there is none of the kind, listing what there is.
    """
    with reading(table.path, table.kind) as arrow:
        images = image or _find_image(table)
        kind = _kind(table, images, "images", "--image-column")
        struct = arrow.types.is_struct(kind)
        inside = {field.name: field.type for field in (kind if struct else ())}
        if not _is_bytes(inside.get("bytes") if struct else kind) or (struct and "path" not in inside):
            raise FedfrError(
                f"{table.path}: column {images!r} holds {kind}; expected images, a struct of bytes and path "
                "or bytes, as Dataset.to_parquet and save_to_disk write them"
            )
        people, classes = find_identity(table, identity)
        index = table.schema.get_field_index("name")
        named = index >= 0 and people != "name" and _is_text(table.schema.field(index).type)
    return Columns(images, people, struct, "name" if named else None, classes)


def find_identity(table: Table, identity: str | None = None) -> tuple[str, tuple[str, ...] | None]:
    """The column that says who is on an image, and the names of its numbers where it is a ClassLabel."""
    with reading(table.path, table.kind) as arrow:
        people = identity or next((name for name in IDENTITY if name in table.schema.names), IDENTITY[0])
        kind = _kind(table, people, "identities", "--identity-column")
        if not (arrow.types.is_integer(kind) or _is_text(kind)):
            raise FedfrError(f"{table.path}: column {people!r} holds {kind}; expected names or numbers of identities")
        feature = _features(table).get(people)
    names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    return people, tuple(map(str, names)) if isinstance(names, list) else None


def _find_image(table: Table) -> str:
    if "image" in table.schema.names:
        return "image"
    marked = [
        name
        for name, feature in _features(table).items()
        if isinstance(feature, dict) and feature.get("_type") == "Image" and name in table.schema.names
    ]
    return marked[0] if len(marked) == 1 else "image"


def _kind(table: Table, column: str, what: str, option: str) -> Any:
    """The type of a column; raises when there is none of that name."""
    if column not in table.schema.names:
        there = ", ".join(table.schema.names) or "none"
        raise FedfrError(f"{table.path} has no column {column!r}; it has {there}: say with {option} which holds {what}")
    if table.schema.names.count(column) > 1:
        raise FedfrError(f"{table.path} has several columns {column!r}; say with {option} which holds {what}")
    return table.schema.field(column).type


def _is_bytes(kind: Any) -> bool:
    """Also where every row has only a path."""
    types = pyarrow().types
    return kind is not None and bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_null(kind))


def _is_text(kind: Any) -> bool:
    types = pyarrow().types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _features(table: Table) -> dict[str, Any]:
    """What ``datasets`` notes about the columns; nothing where the note is missing or not its own."""
    try:
        features = json.loads((table.schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}
