"""Tables in files, a few rows at a time: Parquet, and the Arrow streams of ``Dataset.save_to_disk``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from fedfr.core.errors import FedfrError

__all__ = ["ArrowTable", "ParquetTable", "Table", "pyarrow", "reading"]

CHUNK = 32
"""Rows in memory at a time: images that are not cropped may take megabytes each."""

# For each byte of a file, and so many bytes more.
MAX_ROWS, MAX_TIMES, SLACK = 8, 100, 1 << 26
BUFFER = 1 << 20

END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
"""Arrow's columnar format, "IPC streaming format"."""


def pyarrow() -> Any:
    """The module ``pyarrow`` with what reads and writes files; raises :class:`FedfrError` where it is not installed."""
    try:
        import pyarrow as pa
        from pyarrow import compute, ipc, parquet  # noqa: F401
    except ImportError as error:
        raise FedfrError("Parquet and Arrow files need pyarrow; pip install 'fedfr[hf]'") from error
    return pa


@contextmanager
def reading(path: Path, kind: str) -> Iterator[Any]:
    """Give ``pyarrow``; whatever it says about the file becomes a :class:`FedfrError` of one line."""
    arrow = pyarrow()
    try:
        yield arrow
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        # What is wrong inside a file has no number of the system's.
        if isinstance(error, OSError) and error.errno is not None:
            raise FedfrError(f"cannot read {path}: {error.strerror}; check the path") from error
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise FedfrError(f"{path} is not a whole {kind} file ({reason}); fetch or write it again") from error


class Table(Protocol):
    """A file of rows; opening one raises :class:`FedfrError` when it is broken or cut short, and so does reading."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        ...

    @property
    def kind(self) -> str:
        """What kind of file it is, for messages."""
        ...

    @property
    def schema(self) -> Any:
        """Names and types of the columns, with the metadata of ``datasets``."""
        ...

    @property
    def rows(self) -> int:
        """How many there are."""
        ...

    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        """Record batches of a few rows with some columns; ``image.path`` is one field of a column.

        More fields than asked for may come where they cost nothing.
        """
        ...


class ParquetTable:
    """A Parquet file; of the columns that are not asked for nothing is read."""

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
        # Without a buffer, a column of a row group would be read whole; with pre-buffering, that of the whole file.
        return arrow.parquet.ParquetFile(
            self.path, page_checksum_verification=True, pre_buffer=False, buffer_size=BUFFER
        )


def _check_declared_size(path: Path, metadata: Any) -> None:
    """Refuse rows and pages that a few bytes stand for: images and names do not repeat themselves a hundred times."""
    size = path.stat().st_size
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    unpacked = sum(max(column.total_uncompressed_size, 0) for column in columns)
    if metadata.num_rows > MAX_ROWS * size or unpacked > MAX_TIMES * size + SLACK:
        claims = f"its {size} bytes stand for {metadata.num_rows} rows and {unpacked} bytes"
        raise FedfrError(f"{path} is no table of images ({claims}); fetch or write it again")


class ArrowTable:
    """A stream of record batches, memory-mapped.

    A stream that is cut between two batches reads as a shorter one, so its end is looked at first; and as Arrow trusts
    what lies in it, every batch is checked before it is used.
    """

    kind = "Arrow"

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path, self.kind) as arrow:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - len(END_OF_STREAM)))
                if file.read() != END_OF_STREAM:
                    raise FedfrError(f"{path} is not a whole Arrow file (its end is missing); fetch or write it again")
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
