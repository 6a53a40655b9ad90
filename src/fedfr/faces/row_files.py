"""Row-wise reading of tables about images: CSV files and tables of ``datasets``."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fedfr.faces.readers.huggingface.table_files import Table

__all__ = ["TableRow", "csv_rows", "table_rows"]

TableRow = tuple[str, dict[str, Any]]
"""Location of a row, for messages, and its values by column."""


def csv_rows(path: Path) -> Iterator[TableRow]:
    """Yield the rows of a CSV file with a header; raises ``ValueError`` for a row with another number of cells."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file, strict=True, restkey="\0more", restval=None)
        for line in lines:
            if "\0more" in line or None in line.values():
                raise ValueError(
                    f"line {lines.line_num} has more or fewer cells than line 1; the file may be truncated"
                )
            yield f"line {lines.line_num} of {path}", line


def table_rows(table: Table, columns: Sequence[str]) -> Iterator[TableRow]:
    """Yield the rows of a table with those of ``columns`` that it has."""
    row = 0
    for batch in table.batches([name for name in columns if name in table.schema.names]):
        for values in batch.to_pylist():
            yield f"row {row} of {table.path}", values
            row += 1
