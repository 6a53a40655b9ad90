"""Choice of the columns of a table that hold images, identities and names."""

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
    """Names of the columns of a table.

    ``struct`` means that images are structs of ``bytes`` and ``path``, else bytes. ``classes`` are the names of a
    ClassLabel's numbers; None if numbers have no names.
    """

    image: str
    identity: str
    struct: bool
    name: str | None
    classes: tuple[str, ...] | None

    def identities(self, table: Table) -> Iterator[str | int | None]:
        """Yield the identity of each image; None for a null, an empty name, and a number outside the classes."""
        labels = _values(table, self.identity, lambda column: column.to_pylist())
        return (_class_name(label, self.classes) for label in labels)

    def names(self, table: Table) -> Iterator[str | None]:
        """Yield the name of each image from the column ``name``; None without one."""
        if self.name is None:
            return (None for _ in range(table.rows))
        return (name or None for name in _values(table, self.name, lambda column: column.to_pylist()))

    def files(self, table: Table) -> Iterator[str | None]:
        """Yield the file name in each image's path; None without one."""
        if not self.struct:
            return (None for _ in range(table.rows))
        paths = _values(table, f"{self.image}.path", lambda column: _field(column, "path"))
        return (Path(path).name or None if path else None for path in paths)

    def contents(self, table: Table) -> Iterator[bytes | str]:
        """Yield the compressed images, or a text with the reason why there is none."""
        folder = table.path.parent
        if not self.struct:
            return (content or EMPTY for content in _values(table, self.image, lambda column: column.to_pylist()))
        pairs = _values(
            table, self.image, lambda column: zip(_field(column, "bytes"), _field(column, "path"), strict=True)
        )
        return (content or _referenced_image(folder, path) for content, path in pairs)


def _values(table: Table, column: str, take: Callable[[Any], Iterable[Any]]) -> Iterator[Any]:
    """Yield the values of one column, read a few rows at a time; invalid UTF-8 raises :class:`FedfrError`."""
    with reading(table.path, table.kind):
        for batch in table.batches([column]):
            yield from take(batch.column(0))


def _field(column: Any, name: str) -> list[Any]:
    values: list[Any] = pyarrow().compute.struct_field(column, name).to_pylist()
    return values


def _class_name(label: Any, classes: tuple[str, ...] | None) -> str | int | None:
    if isinstance(label, int) and classes is not None:
        return classes[label] if 0 <= label < len(classes) else None
    return None if label == "" else label


def _referenced_image(folder: Path, path: str | None) -> bytes | str:
    """Return the image file that a row without bytes refers to; it must be below the folder of the table."""
    if not path:
        return EMPTY
    place = (folder / path).resolve()
    if not place.is_relative_to(folder.resolve()):
        return f"holds only the path of an image outside the data set, {path}"
    try:
        return place.read_bytes() or "holds an empty image"
    except OSError as error:
        return f"refers to {place}, which cannot be read ({error.strerror or error})"


def find_columns(table: Table, image: str | None = None, identity: str | None = None) -> Columns:
    """Return the columns named by the caller or else found in the schema.

    The default is ``image`` or the only column marked as images, and ``identity``, else ``label``. Raises
    :class:`FedfrError` listing the columns if one is missing or has an unsuitable type.
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
        identities, classes = find_identity(table, identity)
        index = table.schema.get_field_index("name")
        named = index >= 0 and identities != "name" and _is_text(table.schema.field(index).type)
    return Columns(images, identities, struct, "name" if named else None, classes)


def find_identity(table: Table, identity: str | None = None) -> tuple[str, tuple[str, ...] | None]:
    """Return the column of identities, and the names of its numbers if it is a ClassLabel."""
    with reading(table.path, table.kind) as arrow:
        column = identity or next((name for name in IDENTITY if name in table.schema.names), IDENTITY[0])
        kind = _kind(table, column, "identities", "--identity-column")
        if not (arrow.types.is_integer(kind) or _is_text(kind)):
            raise FedfrError(f"{table.path}: column {column!r} holds {kind}; expected names or numbers of identities")
        feature = _features(table).get(column)
    names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    return column, tuple(map(str, names)) if isinstance(names, list) else None


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
    """Return the type of a column; raises :class:`FedfrError` unless there is exactly one of that name."""
    if column not in table.schema.names:
        present = ", ".join(table.schema.names) or "none"
        raise FedfrError(
            f"{table.path} has no column {column!r} for {what}; it has {present}; choose one with {option}"
        )
    if table.schema.names.count(column) > 1:
        raise FedfrError(f"{table.path} has several columns {column!r}; choose the one with {what} by {option}")
    return table.schema.field(column).type


def _is_bytes(kind: Any) -> bool:
    """Whether a type holds bytes; the null type does, as it occurs when every row has only a path."""
    types = pyarrow().types
    return kind is not None and bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_null(kind))


def _is_text(kind: Any) -> bool:
    types = pyarrow().types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _features(table: Table) -> dict[str, Any]:
    """Return the features that ``datasets`` stores in the schema's metadata; empty if there are none."""
    try:
        features = json.loads((table.schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, dict) else {}
