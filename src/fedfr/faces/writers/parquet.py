"""Export of faces as Parquet files with an image and a ClassLabel per row, as ``datasets`` writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from fedfr.core.errors import WriteError
from fedfr.faces.faceset import FaceSet
from fedfr.faces.readers.huggingface import pyarrow
from fedfr.faces.writers.released_split import ENCODINGS

__all__ = ["write_parquet"]

ROWS_PER_FILE = 16_384
ROWS_PER_GROUP = 100
"""Rows per group, as in ``datasets``; reading a single row reads its group."""


def write_parquet(faces: FaceSet, folder: Path, progress: Callable[[int, int], None]) -> int:
    """Write ``train-00000-of-00001.parquet``, …: ``image`` (bytes, path), ``identity`` (a ClassLabel), ``name``.

    A file holds up to 16 384 rows, about 400 MB. Returns the number of files.
    """
    arrow = pyarrow()
    count = -(-len(faces) // ROWS_PER_FILE)
    schema = _schema(arrow, faces)
    for number in range(count):
        indices = range(number * ROWS_PER_FILE, min((number + 1) * ROWS_PER_FILE, len(faces)))
        path = folder / f"train-{number:05d}-of-{count:05d}.parquet"
        try:
            with arrow.parquet.ParquetWriter(path, schema, write_page_checksum=True) as writer:
                for batch in _batches(arrow, faces, indices, schema):
                    writer.write_batch(batch)
                    progress(indices[0] + batch.num_rows, len(faces))
                    indices = indices[batch.num_rows :]
        except arrow.ArrowException as error:
            raise WriteError(f"cannot write {path.name}: {error}; free space or choose another folder") from error
    return count


def _batches(arrow: Any, faces: FaceSet, indices: range, schema: Any) -> Iterator[Any]:
    encoded = ENCODINGS["png"](faces, indices, 0)
    for start in range(0, len(indices), ROWS_PER_GROUP):
        some = indices[start : start + ROWS_PER_GROUP]
        images = [
            {"bytes": content, "path": f"{index:08d}.png"}
            for index, content in zip(some, islice(encoded, len(some)), strict=True)
        ]
        columns = [images, faces.labels[some].tolist(), [faces.names[index] for index in some]]
        arrays = [arrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        yield arrow.record_batch(arrays, schema=schema)


def _schema(arrow: Any, faces: FaceSet) -> Any:
    """Return the types of the columns with the metadata that describe them to ``datasets``."""
    features = {
        "image": {"_type": "Image"},
        "identity": {"names": list(faces.identities), "_type": "ClassLabel"},
        "name": {"dtype": "string", "_type": "Value"},
    }
    image_type = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    types = [("image", image_type), ("identity", arrow.int64()), ("name", arrow.string())]
    return arrow.schema(types, {"huggingface": json.dumps({"info": {"features": features}})})
