"""Reading of RecordIO files without MXNet.

The parts can be used alone: :class:`RecordFile` with :func:`read_index` or :func:`make_index` gives the records by key,
:func:`read_layout` the keys, offsets and labels of the images, and :class:`RecordPixels` their pixels.

>>> import tempfile
>>> from pathlib import Path
>>> import numpy as np
>>> from fedfr.faces.encoded_images import encode_image
>>> from fedfr.faces.readers.recordio import RecordFile, RecordPixels, read_index, read_layout
>>> from fedfr.faces.writers.recordio import write_recordio_file
>>> image = encode_image(np.zeros((112, 112, 3), np.uint8), ".png")
>>> with tempfile.TemporaryDirectory() as folder:
...     path = Path(folder, "train.rec")
...     write_recordio_file(path, [(0, image), (1, image)], identities=2)
...     file = RecordFile(path)
...     layout = read_layout(file, read_index(path.with_suffix(".idx")))
...     pixels = RecordPixels(file, layout.keys, layout.offsets)[np.array([0, 1])]
>>> layout.labels.tolist(), pixels.shape
([0, 1], (2, 112, 112, 3))
"""

from __future__ import annotations

from fedfr.faces.readers.recordio.format import Record, RecordError, RecordFile
from fedfr.faces.readers.recordio.index import RecordIndex, iterate_records, make_index, read_index
from fedfr.faces.readers.recordio.record_layout import RecordLayout, read_layout
from fedfr.faces.readers.recordio.record_pixels import RecordPixels

__all__ = [
    "Record",
    "RecordError",
    "RecordFile",
    "RecordIndex",
    "RecordLayout",
    "RecordPixels",
    "iterate_records",
    "make_index",
    "read_index",
    "read_layout",
]


def __dir__() -> list[str]:
    return sorted(__all__)
