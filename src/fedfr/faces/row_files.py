"""Tables that say something of images, read line by line: CSV, and what ``datasets`` keeps."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fedfr.faces.readers.huggingface.table_files import Table

__all__ = ["TableRow", "csv_rows", "table_rows"]

TableRow = tuple[str, dict[str, Any]]
"""Where a line stands, and its values by column."""


def csv_rows(path: Path) -> Iterator[TableRow]:
    """Every line of a CSV whose first names the columns; raises ``ValueError`` for one with more or fewer."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file, strict=True, restkey="\0more", restval=None)
        for line in lines:
            if "\0more" in line or None in line.values():
                raise ValueError(f"line {lines.line_num} has other columns than the first line; it may be cut short")
            yield f"line {lines.line_num} of {path}", line


def table_rows(table: Table, columns: Sequence[str]) -> Iterator[TableRow]:
    """Every row of a table, of ``columns`` those that it has."""
    row = 0
    for batch in table.batches([name for name in columns if name in table.schema.names]):
        for values in batch.to_pylist():
            yield f"row {row} of {table.path}", values
            row += 1
