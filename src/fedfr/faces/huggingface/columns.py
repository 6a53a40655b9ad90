"""Which columns of a table hold the pictures, who is on them, and what they are called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedfr.errors import FedfrError
from fedfr.faces.huggingface.tables import Table, pyarrow

__all__ = ["Columns", "find_columns", "find_identity"]

IDENTITY = ("identity", "label")


@dataclass(frozen=True)
class Columns:
    """Names of columns; ``struct``: pictures are structs of ``bytes`` and ``path``, else bytes alone.

    ``classes``: names of a ClassLabel's numbers; without them numbers stand for themselves.
    """

    image: str
    identity: str
    struct: bool
    name: str | None
    classes: tuple[str, ...] | None

    def people(self, table: Table) -> Iterator[str | int | None]:
        """Who is on each picture; None where nobody is named: a null, an empty name, a number that is no class."""
        for batch in table.batches([self.identity]):
            for person in batch.column(0).to_pylist():
                yield _named(person, self.classes)

    def names(self, table: Table) -> Iterator[str | None]:
        """What each picture is called, where there is a column ``name``."""
        if self.name is None:
            yield from (None for _ in range(table.rows))
            return
        for batch in table.batches([self.name]):
            yield from (name or None for name in batch.column(0).to_pylist())

    def files(self, table: Table) -> Iterator[str | None]:
        """The last part of each picture's path, where it has one."""
        if not self.struct:
            yield from (None for _ in range(table.rows))
            return
        field = pyarrow().compute.struct_field
        for batch in table.batches([f"{self.image}.path"]):
            yield from (
                Path(path).name or None if path else None for path in field(batch.column(0), "path").to_pylist()
            )

    def contents(self, table: Table) -> Iterator[bytes | str]:
        """The compressed pictures; a text says why there is none."""
        field = pyarrow().compute.struct_field
        for batch in table.batches([self.image]):
            column = batch.column(0)
            inside = field(column, "bytes") if self.struct else column
            paths = field(column, "path") if self.struct else [None] * len(column)
            for content, path in zip(inside, paths, strict=True):
                held = content.as_py()
                yield held or _beside(table.path.parent, None if path is None else path.as_py())


def _named(person: Any, classes: tuple[str, ...] | None) -> str | int | None:
    if isinstance(person, int) and classes is not None:
        return classes[person] if 0 <= person < len(classes) else None
    return None if person == "" else person


def _beside(folder: Path, path: str | None) -> bytes | str:
    """The picture that a row without bytes leads to, only below the folder of the file."""
    if not path:
        return "holds no picture"
    place = (folder / path).resolve()
    if not place.is_relative_to(folder.resolve()):
        return f"holds only the path of a picture that lies elsewhere, {path}"
    try:
        return place.read_bytes() or "holds an empty picture"
    except OSError as error:
        return f"leads to {place}, which cannot be read ({error.strerror or error})"


def find_columns(table: Table, image: str | None = None, identity: str | None = None) -> Columns:
    """The columns named, else ``image`` or the only one marked as pictures, and ``identity`` or ``label``.

    Raises :class:`FedfrError` when there is none of the kind, listing what there is.
    """
    pictures = image or _find_image(table)
    kind = _kind(table, pictures, "pictures", "--image-column")
    types = pyarrow().types
    struct = types.is_struct(kind)
    fields = {kind.field(number).name: kind.field(number).type for number in range(kind.num_fields)} if struct else {}
    held = fields.get("bytes") if struct else kind
    if held is None or not (types.is_binary(held) or types.is_large_binary(held)) or (struct and "path" not in fields):
        raise FedfrError(
            f"{table.path}: column {pictures!r} holds {kind}; expected pictures, a struct of bytes and path or bytes, "
            "as Dataset.to_parquet and save_to_disk write them"
        )
    people, classes = find_identity(table, identity)
    named = table.schema.get_field_index("name")
    name = "name" if named >= 0 and people != "name" and _is_text(table.schema.field(named).type) else None
    return Columns(pictures, people, struct, name, classes)


def find_identity(table: Table, identity: str | None = None) -> tuple[str, tuple[str, ...] | None]:
    """The column that says who is on a picture, and the names of its numbers where it is a ClassLabel."""
    people = identity or next((name for name in IDENTITY if name in table.schema.names), IDENTITY[0])
    kind = _kind(table, people, "identities", "--identity-column")
    if not (pyarrow().types.is_integer(kind) or _is_text(kind)):
        raise FedfrError(f"{table.path}: column {people!r} holds {kind}; expected names or whole numbers of identities")
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
    return table.schema.field(column).type


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
