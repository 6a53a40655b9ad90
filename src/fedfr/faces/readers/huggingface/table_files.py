"""Tables read a few rows at a time: Parquet files, and the Arrow streams of ``Dataset.save_to_disk``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from fedfr.core.errors import FedfrError

__all__ = ["ArrowTable", "ParquetTable", "Table", "pyarrow", "reading"]

CHUNK = 32
"""Rows in memory at a time; uncropped images may take megabytes each."""

# Limits for decompression bombs: rows and uncompressed bytes per byte of the file, and bytes in addition.
MAX_ROWS, MAX_TIMES, SLACK = 8, 100, 1 << 26
BUFFER = 1 << 20

END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
"""End-of-stream marker of Arrow's IPC streaming format."""


def pyarrow() -> Any:
    """Import ``pyarrow`` with its file modules; raises :class:`FedfrError` if it is not installed."""
    try:
        pa = import_module("pyarrow")
        for module in ("compute", "ipc", "parquet"):
            import_module(f"pyarrow.{module}")
    except ImportError as error:
        raise FedfrError("Parquet and Arrow files need pyarrow; pip install 'fedfr[hf]'") from error
    return pa


@contextmanager
def reading(path: Path, kind: str) -> Iterator[Any]:
    """Yield ``pyarrow`` and convert its errors about the file to :class:`FedfrError` with one line."""
    arrow = pyarrow()
    try:
        yield arrow
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        # Only errors of the operating system have an errno; others concern the content.
        if isinstance(error, OSError) and error.errno is not None:
            raise FedfrError(f"cannot read {path}: {error.strerror}; check the path") from error
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise FedfrError(f"{path} is not a complete {kind} file ({reason}); fetch or write it again") from error


class Table(Protocol):
    """A file of rows; opening and reading raise :class:`FedfrError` if it is damaged or truncated."""

    @property
    def path(self) -> Path:
        """Path of the file."""
        ...

    @property
    def kind(self) -> str:
        """Name of the format, for messages."""
        ...

    @property
    def schema(self) -> Any:
        """Names and types of the columns, with the metadata of ``datasets``."""
        ...

    @property
    def rows(self) -> int:
        """Number of rows."""
        ...

    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        """Yield record batches of a few rows with ``columns``; ``image.path`` is one field of a column.

        Batches may hold more fields than requested where these are free.
        """
        ...


class ParquetTable:
    """A Parquet file; only requested columns are read."""

    kind = "Parquet"

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path, self.kind) as arrow, self._opened(arrow) as file:
            self.schema = file.schema_arrow
            self.rows = int(file.metadata.num_rows)
            _check_declared_size(path, file.metadata)

    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        """See :class:`Table`."""
        with reading(self.path, self.kind) as arrow, self._opened(arrow) as file:
            yield from file.iter_batches(batch_size=CHUNK, columns=list(columns), use_threads=False)

    def _opened(self, arrow: Any) -> Any:
        # Without a buffer, a column of a row group would be read at once; with pre-buffering, that of the entire file.
        return arrow.parquet.ParquetFile(
            self.path, page_checksum_verification=True, pre_buffer=False, buffer_size=BUFFER
        )


def _check_declared_size(path: Path, metadata: Any) -> None:
    """Raise :class:`FedfrError` for decompression bombs: images and names do not compress to a hundredth."""
    size = path.stat().st_size
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    unpacked = sum(max(column.total_uncompressed_size, 0) for column in columns)
    if metadata.num_rows > MAX_ROWS * size or unpacked > MAX_TIMES * size + SLACK:
        claims = f"its {size} bytes declare {metadata.num_rows} rows and {unpacked} bytes"
        raise FedfrError(f"{path} is not a table of images ({claims}); fetch or write it again")


class ArrowTable:
    """A stream of record batches, memory-mapped.

    A stream that is cut between two batches reads as a shorter one, so its end is checked first. Arrow trusts the
    content, so every batch is validated before use.
    """

    kind = "Arrow"

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path, self.kind) as arrow:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - len(END_OF_STREAM)))
                if file.read() != END_OF_STREAM:
                    raise FedfrError(
                        f"{path} is not a complete Arrow file (its end is missing); fetch or write it again"
                    )
            with self._opened(arrow) as stream:
                self.schema = stream.schema
                self.rows = sum(batch.num_rows for batch in stream)

    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        """See :class:`Table`."""
        names = [name.partition(".")[0] for name in columns]
        with reading(self.path, self.kind) as arrow, self._opened(arrow) as stream:
            for batch in stream:
                wanted = batch.select(names)
                wanted.validate(full=True)
                for start in range(0, wanted.num_rows, CHUNK):
                    yield wanted.slice(start, CHUNK)

    def _opened(self, arrow: Any) -> Any:
        return arrow.ipc.open_stream(arrow.memory_map(str(self.path)))
