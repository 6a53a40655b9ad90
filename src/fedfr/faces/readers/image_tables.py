"""Import of tables with one image per row: Parquet files and folders written by ``Dataset.save_to_disk``."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.faces.faceset import FaceSet
from fedfr.faces.readers.huggingface import ArrowTable, ParquetTable, Table, find_columns, parquet_files, saved_files
from fedfr.faces.readers.image_reading import Progress
from fedfr.faces.readers.image_rows import ImageRows, import_rows, make_image_rows
from fedfr.faces.storage import check_destination

__all__ = ["import_parquet", "import_saved_dataset"]


def import_parquet(
    path: str | os.PathLike[str],
    dest: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    *,
    part: str | None = None,
    image_column: str | None = None,
    identity_column: str | None = None,
    skip_bad: bool = False,
) -> FaceSet:
    """Import a Parquet file, or all those in a folder and its sub-folders, as ``Dataset.to_parquet`` writes them.

    Images are compressed, as structs of ``bytes`` and ``path`` or as bytes. ``image_column`` and ``identity_column``
    name the columns; the defaults are ``image`` and ``identity``, else ``label``. Identities are names or numbers; a
    ClassLabel keeps its order, others are sorted by name. ``part`` selects one part (``train``); default: all.
    :func:`~fedfr.faces.readers.image_rows.import_rows` describes the treatment of images of other sizes, bad and
    repeated rows. Raises :class:`FedfrError` naming file and row for damaged files and files of another kind.

    >>> import tempfile
    >>> import numpy as np
    >>> from fedfr.faces import FaceSet, export_faces, import_parquet
    >>> faces = FaceSet(np.zeros((1, 112, 112, 3), np.uint8), [0], ["a"], ["a/1.png"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = export_faces(faces, f"{folder}/exported", "parquet")
    ...     import_parquet(f"{folder}/exported").names
    ('a/1.png',)
    """
    source, target = _places(path, dest)
    tables = [ParquetTable(file) for file in parquet_files(source, part)]
    return import_rows(_rows(source, tables, image_column, identity_column), target, progress, skip_bad=skip_bad)


def import_saved_dataset(
    path: str | os.PathLike[str],
    dest: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    *,
    part: str | None = None,
    image_column: str | None = None,
    identity_column: str | None = None,
    skip_bad: bool = False,
) -> FaceSet:
    """Import a folder written by ``save_to_disk`` of a ``Dataset`` or ``DatasetDict``; see :func:`import_parquet`.

    >>> from pathlib import Path
    >>> from fedfr.faces import import_saved_dataset
    >>> folder = Path("saved")  # written by datasets.Dataset.save_to_disk
    >>> faces = import_saved_dataset(folder) if folder.is_dir() else None
    """
    source, target = _places(path, dest)
    tables = [ArrowTable(file) for file in saved_files(source, part)]
    return import_rows(_rows(source, tables, image_column, identity_column), target, progress, skip_bad=skip_bad)


def _places(path: str | os.PathLike[str], dest: str | os.PathLike[str] | None) -> tuple[Path, Path | None]:
    """Return the absolute source and destination; the destination must be new or empty and outside the source."""
    source = Path(path).resolve()
    if not source.exists():
        raise FedfrError(f"{path} does not exist; check the path")
    target = None if dest is None else Path(dest).resolve()
    if target is not None:
        if source.is_dir() and target.is_relative_to(source):
            raise FedfrError(f"dest {target} is inside the source {source}; choose another dest")
        check_destination(target)
    return source, target


def _rows(source: Path, tables: Sequence[Table], image: str | None, identity: str | None) -> ImageRows:
    pairs = [(table, find_columns(table, image, identity)) for table in tables]
    ends = list(accumulate(table.rows for table in tables))

    def where(row: int) -> str:
        number = bisect_right(ends, row)
        return f"row {row - (ends[number - 1] if number else 0)} of {tables[number].path}"

    def contents() -> Iterator[bytes | str]:
        return chain.from_iterable(columns.contents(table) for table, columns in pairs)

    return make_image_rows(
        source,
        [identity for table, columns in pairs for identity in columns.identities(table)],
        [name for _, columns in pairs for name in columns.classes or ()],
        [name for table, columns in pairs for name in columns.names(table)],
        [file for table, columns in pairs for file in columns.files(table)],
        where,
        contents,
    )
