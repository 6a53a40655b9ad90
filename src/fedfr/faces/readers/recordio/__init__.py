"""Reading of RecordIO files without MXNet."""

from __future__ import annotations

from fedfr.faces.readers.recordio.format import Record, RecordError, RecordFile
from fedfr.faces.readers.recordio.index import Index, iterate_records, make_index, read_index
from fedfr.faces.readers.recordio.record_layout import Layout, read_layout
from fedfr.faces.readers.recordio.record_pixels import RecordPixels

__all__ = [
    "Index",
    "Layout",
    "Record",
    "RecordError",
    "RecordFile",
    "RecordPixels",
    "iterate_records",
    "make_index",
    "read_index",
    "read_layout",
]


def __dir__() -> list[str]:
    return sorted(__all__)
