"""Reading of data sets in the formats of the Hugging Face library ``datasets`` with pyarrow, without downloads."""

from __future__ import annotations

from fedfr.faces.readers.huggingface.column_choice import Columns, find_columns
from fedfr.faces.readers.huggingface.dataset_files import is_parquet, is_saved_dataset, parquet_files, saved_files
from fedfr.faces.readers.huggingface.table_files import ArrowTable, ParquetTable, Table, pyarrow, reading

__all__ = [
    "ArrowTable",
    "Columns",
    "ParquetTable",
    "Table",
    "find_columns",
    "is_parquet",
    "is_saved_dataset",
    "parquet_files",
    "pyarrow",
    "reading",
    "saved_files",
]


def __dir__() -> list[str]:
    return sorted(__all__)
